// Shows /status, once a second. No library, nothing from elsewhere.
'use strict';

const keep = 60;
const series = { open: [], rate: [], sent: [], memory: [] };
const about = {
  uring: 'io_uring', epoll: 'epoll', poll: 'poll', select: 'select', rtsig: 'real-time signals', sweep: 'a plain sweep',
  runtime: 'Go’s own poller', blocking: 'blocking system calls',
};
const models = {
  reactor: 'event loops', goroutine: 'a goroutine each', thread: 'a thread each', single: 'one at a time',
  workpool: 'a pool of workers',
};
let last = null;

const by = (id) => document.getElementById(id);
const say = (id, text) => { const e = by(id); if (e.textContent !== text) e.textContent = text; };
const number = new Intl.NumberFormat('en');
const count = (n) => number.format(Math.round(n));

function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i === 0 ? Math.round(n) : n.toFixed(n < 10 ? 2 : 1)} ${units[i]}`;
}

function time(seconds) {
  const s = Math.floor(seconds), d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  if (m) return `${m} min ${s % 60} s`;
  return `${s} s`;
}

function draw(name, value) {
  const points = series[name];
  points.push(value);
  if (points.length > keep) points.shift();
  const top = Math.max(1, ...points) * 1.15;
  const x = (i) => 240 - (points.length - 1 - i) * (240 / (keep - 1));
  const y = (v) => 54 - (v / top) * 50;
  const line = points.map((v, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join('');
  by(`${name}-line`).firstElementChild.setAttribute('d', `${line}L241 58L${x(0).toFixed(1)} 58Z`);
}

function loops(perWorker, workers) {
  const list = by('loops');
  const shown = perWorker.slice(0, 64);
  const most = Math.max(1, ...shown);
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach((n, i) => {
    let row = list.children[i];
    if (!row) {
      row = document.createElement('li');
      row.innerHTML = '<span></span><span class="bar"><i></i></span><span class="count"></span>';
      list.append(row);
    }
    row.children[0].textContent = `${workers} ${i}`;
    row.querySelector('i').style.width = `${(n / most) * 100}%`;
    row.children[2].textContent = count(n);
  });
}

function passed(list) {
  const ul = by('passed');
  ul.replaceChildren(...(list.length ? list : [null]).map((p) => {
    const li = document.createElement('li');
    if (!p) { li.textContent = 'Nothing: the best driver there is works here, or you chose one by name.'; return li; }
    const name = document.createElement('b');
    name.textContent = p.driver;
    li.append(name, `: ${p.why}${p.fix ? ` — ${p.fix}` : ''}`);
    return li;
  }));
}

function show(s) {
  const now = performance.now();
  const span = last ? (now - last.at) / 1000 : 0;
  const rate = span ? Math.max(0, s.requests - last.requests) / span : 0;
  const sent = span ? Math.max(0, s.sent_bytes - last.sent) / span : 0;
  if (!last || last.pid !== s.pid) passed(s.driver_passed_over);
  last = { at: now, requests: s.requests, sent: s.sent_bytes, pid: s.pid };
  say('version', s.version);
  say('driver', about[s.driver] || s.driver);
  say('model', models[s.model] || s.model);
  say('open', count(s.connections.open));
  say('rate', count(rate));
  say('sent', bytes(sent));
  say('memory', bytes(s.resident_bytes));
  say('accepted', count(s.connections.accepted));
  say('closed', count(s.connections.closed));
  say('requests', count(s.requests));
  say('uptime', time(s.uptime_seconds));
  say('capacity', count(s.capacity.connections));
  say('wall', s.capacity.first_wall);
  loops(s.open_per_worker, s.model === 'reactor' ? 'loop' : 'worker');
  draw('open', s.connections.open);
  draw('rate', rate);
  draw('sent', sent);
  draw('memory', s.resident_bytes);
}

async function turn() {
  const pulse = by('pulse');
  try {
    const answer = await fetch('status', { cache: 'no-store' });
    if (!answer.ok) throw new Error(String(answer.status));
    show(await answer.json());
    pulse.className = 'pulse live';
    say('pulse', 'live');
  } catch {
    pulse.className = 'pulse lost';
    say('pulse', 'the server does not answer');
  }
  setTimeout(turn, document.hidden ? 5000 : 1000);
}

for (const e of document.querySelectorAll('.host')) e.textContent = location.host;
turn();
