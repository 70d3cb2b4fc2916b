import {ask, byId, el, repeat, write} from './dom.js';
import {time} from './format.js';
import {Live} from './live.js';
import {Table} from './table.js';
import {Doctor, Ended} from './doctor.js';
import {Upstreams} from './upstreams.js';
import {Sessions} from './sessions.js';
import {Workers} from './workers.js';

// confirm shows something and asks whether to go on; act is what is done then.
const dialog = byId('dialog');
let act;
function confirm(title, body, yes, then) {
  write(byId('dialog-title'), title);
  byId('dialog-body').replaceChildren(...body);
  write(byId('dialog-yes'), yes);
  byId('dialog-yes').hidden = !then;
  write(byId('dialog-no'), then ? 'Cancel' : 'Good');
  act = then;
  dialog.returnValue = '';
  dialog.showModal();
  byId(then ? 'dialog-yes' : 'dialog-no').focus();
}
dialog.addEventListener('close', async () => {
  if (dialog.returnValue !== 'yes' || !act) return;
  try {
    await act();
    alarm('');
  } catch (problem) {
    alarm(problem.message);
  }
});

function alarm(text) {
  write(byId('alarm'), text);
  byId('alarm').hidden = text === '';
}

const live = new Live();
const table = new Table(confirm);
new Doctor();
const ended = new Ended();
const upstreams = new Upstreams(live);
const sessions = new Sessions(confirm);
const workers = new Workers();
let process; // the one whose figures are shown

// status says what runs here.
const status = repeat(5, async () => {
  try {
    const s = await ask('GET', '/v1/status');
    if (process !== undefined && process !== s.pid) anew();
    process = s.pid;
    live.status(s);
    sessions.status(s);
    upstreams.status(s);
    workers.status(s);
    document.title = `${s.connections.open} · myriad ${s.pid}`;
    write(byId('about'), [s.version, `process ${s.pid}`, `${s.model} on ${s.driver}`,
      `up ${time(s.uptime_seconds)}`, ...s.listeners].join('  ·  '));
  } catch { // the state of the stream tells it
  }
});

// anew forgets what another process has told: it was restarted.
function anew() {
  upstreams.anew();
  ended.anew();
  table.again();
}

// stale says that what is shown is old, or that it no longer is.
let since;
function stale(is) {
  document.body.classList.toggle('stale', is);
  if (is && !since) {
    since = new Date();
    alarm(`The server has not answered since ${since.toLocaleTimeString()}: these are its last figures. ` +
      'The page goes on by itself when it is back.');
  } else if (!is && since) {
    since = undefined;
    alarm('');
    status();
  }
}

// follow takes figures and ends as they come. A browser connects anew by itself.
function follow() {
  const stream = new EventSource('/v1/events');
  const state = (name, text) => {
    byId('link').dataset.state = name;
    write(byId('link'), text);
  };
  stream.addEventListener('open', () => {
    state('live', 'live');
    stale(false);
  });
  stream.addEventListener('figures', (e) => live.figures(JSON.parse(e.data)));
  stream.addEventListener('closed', (e) => ended.add(JSON.parse(e.data)));
  stream.addEventListener('error', () => {
    state('gone', 'no answer');
    stale(true);
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 2000);
  });
}
follow();

const keys = [
  ['/', 'search connections', () => table.search.focus()],
  ['j', 'the next connection', () => table.move(1)],
  ['k', 'the one before', () => table.move(-1)],
  ['Enter', 'all about it', () => table.details()],
  ['x', 'close it', () => table.close()],
  ['s', 'sort by the next column', () => table.nextSort()],
  ['n', 'the next page', () => table.page(1)],
  ['p', 'the page before', () => table.page(-1)],
  ['w', 'the workers, where there are some', () => workers.focus()],
  ['?', 'these keys', () => help()],
];

function help() {
  confirm('Keys', [
    el('dl', {class: 'keys'}, keys.map(([key, about]) => [el('dt', {}, el('kbd', {}, key)), el('dd', {}, about)]),
      el('dt', {}, el('kbd', {}, 'Esc')), el('dd', {}, 'clear the search, or leave a question')),
    el('p', {class: 'soft'}, 'The search takes states (idle, CLOSE_WAIT), addresses and ranges, protocols, an id, and ' +
      'older:5m idle:30s loop:1 listener:0 min_bytes:1000000; all that is said must hold.'),
  ], '', null);
}
byId('help').addEventListener('click', help);

document.addEventListener('keydown', (e) => {
  if (dialog.open || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.target === table.search) {
    if (e.key === 'Escape' || e.key === 'Enter') table.search.blur();
    return;
  }
  if (e.target.closest('button, summary, a') && e.key === 'Enter') return;
  const found = keys.find(([key]) => key === e.key);
  if (found) {
    e.preventDefault();
    found[2]();
  }
});
