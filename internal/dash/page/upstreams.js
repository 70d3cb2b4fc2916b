import {ask, byId, el, repeat, svg, write} from './dom.js';
import {count, percent, plural, rate} from './format.js';
import {Rates} from './sessions.js';

const line = 46, gap = 18; // the height of an endpoint, and the room between two upstreams

// Upstreams draws which listeners and routes lead to which upstreams, and how their endpoints are.
export class Upstreams {
  constructor(live, find) {
    this.live = live;
    this.find = find;
    this.sources = [];
    this.reused = new Map();
    this.rates = new Rates();
    this.told = el('p', {class: 'soft'}, '…');
    this.map = el('div', {class: 'map'});
    byId('upstreams').append(el('div', {class: 'heading'}, el('h2', {}, 'Upstreams'), this.told,
      el('p', {class: 'legend right'}, el('span', {}, el('i', {class: 'tone-a'}), 'in use'),
        el('span', {}, el('i', {class: 'tone-d'}), 'pooled, idle'))), this.map);
    new ResizeObserver(() => this.draw()).observe(this.map);
    this.again = repeat(2, () => this.load());
  }

  async load() {
    try {
      if (!this.configured) {
        this.sources = sourcesOf(await ask('GET', '/v1/config'));
        this.configured = true;
      }
      const {upstreams, drained} = await ask('GET', '/v1/upstreams');
      this.all = upstreams;
      upstreams.forEach((u) => this.reuse(u));
      this.drained = drained || {};
      this.live.upstreams(upstreams);
      this.draw();
    } catch (problem) {
      write(this.told, problem.message);
    }
  }

  // reuse is how much of what a pool gave since the look before had been used already. A session of bytes or datagrams
  // has a connection of its own, always.
  reuse(u) {
    if (u.name.startsWith('listeners[')) return;
    const {acquired = 0, reused = 0} = u.counts || {};
    const gave = this.rates.of(u.name + ' acquired', acquired), again = this.rates.of(u.name + ' reused', reused);
    if (gave > 0) this.reused.set(u.name, again / gave);
    else if (acquired > 0 && !this.reused.has(u.name)) this.reused.set(u.name, reused / acquired);
  }

  // anew asks for the configuration again: another process may have another one.
  anew() {
    this.configured = false;
    this.reused.clear();
    this.again();
  }

  // status takes what the listeners have counted that pass on bytes or datagrams.
  status(s) {
    this.streams = new Map((s.streams || []).map((l) => [l.listener, {
      open: l.counts.sessions_open, begun: this.rates.of(l.listener, l.counts.sessions),
    }]));
  }

  aboutSource(s) {
    const passed = this.streams && this.streams.get(s.name);
    if (!passed) return s.about;
    return `${s.about}, ${plural(passed.open, 'session')}` +
      (passed.begun === undefined ? '' : `, ${rate(passed.begun)} / s`);
  }

  aboutUpstream(u) {
    const reused = this.reused.get(u.name);
    return `${u.policy.replaceAll('_', ' ')}, ${plural(u.endpoints.length, 'endpoint')}` +
      (reused === undefined ? '' : `, ${percent(reused)} reused`) + (u.waiting ? `, ${count(u.waiting)} wait` : '');
  }

  draw() {
    if (!this.all) return;
    const ill = this.all.flatMap((u) => u.endpoints).filter((e) => e.state !== 'up').length;
    write(this.told, ill ? `${plural(ill, 'endpoint')} not up` : this.all.length ? 'all are up' : 'nothing is passed on');
    if (this.all.length === 0) return;
    const width = this.map.clientWidth;
    const drawing = width < 640 ? this.narrow(width) : this.wide(width);
    this.map.replaceChildren(drawing);
  }

  // wide draws three columns: what leads there, the upstream, its endpoints.
  wide(width) {
    const column = width / 3, box = Math.min(column - 60, 300), right = width - Math.min(column + 60, 420);
    const parts = [];
    let y = 0;
    for (const upstream of this.all) {
      const sources = this.sources.filter((s) => s.upstream === upstream.name);
      const rows = Math.max(upstream.endpoints.length, sources.length, 1);
      const middle = y + rows * line / 2;
      const at = (i, n) => middle + (i - (n - 1) / 2) * line;
      const center = (width - box) / 2 - 30;
      sources.forEach((s, i) => {
        parts.push(curve(box, at(i, sources.length), center, middle, 'path'));
        parts.push(node(0, at(i, sources.length), box, s.name, this.aboutSource(s)));
      });
      upstream.endpoints.forEach((e, i) => {
        parts.push(curve(center + box, middle, right, at(i, upstream.endpoints.length), 'path ' + toneOf(e)));
        parts.push(this.endpoint(right, at(i, upstream.endpoints.length), width - right, upstream, e));
      });
      const kind = upstream.waiting > 0 ? 'waiting' : '';
      parts.push(node(center, middle, box, upstream.name, this.aboutUpstream(upstream), kind));
      y += rows * line + gap;
    }
    return svg('svg', {width, height: y - gap, role: 'img', 'aria-label': this.words()}, parts);
  }

  // narrow draws a tree: the upstream, and below it its endpoints.
  narrow(width) {
    const parts = [];
    let y = line / 2;
    for (const upstream of this.all) {
      const sources = this.sources.filter((s) => s.upstream === upstream.name).map((s) => s.name).join(', ');
      parts.push(node(0, y, width, (sources ? sources + ' → ' : '') + upstream.name, this.aboutUpstream(upstream)));
      let last = y;
      upstream.endpoints.forEach((e) => {
        last += line;
        parts.push(svg('path', {class: 'path ' + toneOf(e), d: `M12 ${y + 19}V${last}H24`}));
        parts.push(this.endpoint(24, last, width - 24, upstream, e));
      });
      y = last + line + gap;
    }
    return svg('svg', {width, height: y - gap - line / 2, role: 'img', 'aria-label': this.words()}, parts);
  }

  endpoint(x, y, width, upstream, e) {
    const out = (this.drained[upstream.name] || []).includes(e.name);
    const most = Math.max(e.limit || 0, ...upstream.endpoints.map((o) => o.open), 1);
    const bar = Math.min(width * 0.3, 110), from = x + width - bar - 10;
    const state = out ? 'drained' : e.state;
    const about = `${count(e.open)} open` + (e.limit ? ` of ${count(e.limit)}` : '') +
      (e.failed ? `, ${count(e.failed)} failed` : '');
    return svg('g', {class: 'endpoint ' + toneOf(e)},
      svg('title', {}, [e.name + ': ' + state, e.why, `${count(e.connected)} connected, ${count(e.failed)} failed, ` +
        `${count(e.broken)} broken`, ...(e.ports || []).map((p) => `ports from ${p.source}: ${count(p.open)} open, ` +
        `${count(p.lingering)} lingering, of ${count(p.capacity)}`)].filter(Boolean).join('\n')),
      svg('rect', {class: 'box', x: x + 0.5, y: y - 18.5, width: width - 1, height: 37, rx: 7}),
      svg('circle', {class: 'dot', cx: x + 14, cy: y, r: 4.5}),
      svg('text', {x: x + 27, y: y - 3}, fit(e.address, width - bar - 50)),
      svg('text', {class: 'soft', x: x + 27, y: y + 12}, fit(`${state}, ${about}`, width - bar - 50, 6)),
      svg('rect', {class: 'trough', x: from, y: y - 3, width: bar, height: 6, rx: 3}),
      svg('rect', {class: 'tone-a', x: from, y: y - 3, width: bar * Math.min(1, e.leased / most), height: 6, rx: 3}),
      svg('rect', {class: 'tone-d', x: from + bar * Math.min(1, e.leased / most), y: y - 3,
        width: bar * Math.min(1, e.idle / most), height: 6, rx: 3}));
  }

  // words are the map for those who do not see it.
  words() {
    const endpoint = (e) => `${e.address} ${e.state}, ${e.open} open`;
    return this.all.map((u) => `${u.name}: ` + u.endpoints.map(endpoint).join('; ')).join('. ');
  }
}

const toneOf = (e) => e.state === 'up' ? 'well' : e.state === 'down' ? 'ill' : 'unsure';

// sourcesOf reads from the configuration what leads to an upstream. One without a name is called after who uses it.
function sourcesOf(config) {
  const sources = [];
  (config.listeners || []).forEach((l, i) => {
    if (l.protocol !== 'tcp' && l.protocol !== 'udp') return;
    sources.push({name: l.address, about: l.protocol + ' listener', upstream: l.upstream || `listeners[${i}]`});
  });
  (config.routes || []).forEach((r, i) => {
    if (!r.proxy) return;
    const where = (r.host || '') + (r.path || (r.prefix || '') + (r.suffix ? '*' + r.suffix : '')) || 'every request';
    sources.push({name: where, about: 'http route', upstream: r.proxy.upstream || `routes[${i}]`});
  });
  return sources;
}

function node(x, y, width, name, about, kind = '') {
  return svg('g', {class: 'node ' + kind}, svg('title', {}, name + '\n' + about),
    svg('rect', {class: 'box', x: x + 0.5, y: y - 18.5, width: width - 1, height: 37, rx: 7}),
    svg('text', {x: x + 12, y: y - 3}, fit(name, width - 24)),
    svg('text', {class: 'soft', x: x + 12, y: y + 12}, fit(about, width - 24, 6)));
}

function curve(x1, y1, x2, y2, kind) {
  const middle = (x1 + x2) / 2;
  return svg('path', {class: kind, d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`});
}

// fit cuts a text to the room there is: letters are about so wide.
function fit(text, room, letter = 7) {
  const most = Math.max(4, Math.floor(room / letter));
  return text.length <= most ? text : text.slice(0, most - 1) + '…';
}
