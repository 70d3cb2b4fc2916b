import {byId, el, write} from './dom.js';
import {Chart} from './chart.js';
import {bytes, count, micros, percent, rate} from './format.js';

// tile is a figure with its name, a line below it, and, if it is a part of something, a bar.
function tile(name, hint) {
  const t = {
    value: el('b', {}, '–'), below: el('small', {}, '\u00a0'), meter: el('i', {class: 'meter'}, el('i')),
  };
  t.node = el('div', {class: 'tile', title: hint}, el('span', {}, name), t.value, t.below, t.meter);
  t.meter.hidden = true;
  byId('tiles').append(t.node);
  t.set = (value, below, share) => {
    write(t.value, value);
    write(t.below, below || '\u00a0');
    t.meter.hidden = share === undefined;
    if (share !== undefined) {
      t.meter.firstChild.style.width = `${Math.min(100, 100 * share)}%`;
      t.node.classList.toggle('near', share >= 0.8);
      t.node.classList.toggle('full', share >= 0.95);
    }
  };
  return t;
}

// Live shows what the server tells each second.
export class Live {
  constructor() {
    this.open = tile('Connections', 'Connections that are open');
    this.accepted = tile('Accepted / s', 'Connections accepted in a second, and closed');
    this.requests = tile('Requests / s', 'Requests in a second, and answers that were errors');
    this.latency = tile('Latency p99', 'From the first byte of a request until its answer was queued');
    this.busy = tile('Busiest loop', 'The share of its time that the busiest event loop did not wait');
    this.descriptors = tile('Descriptors left', 'File descriptors that the process may still open');
    this.ports = tile('Ports left', 'Local ports left for the endpoint that has the fewest');
    this.memory = tile('Memory', 'Memory of the process that is resident');
    this.charts = [
      new Chart(byId('chart-requests'), 'Requests and accepts a second', rate, [
        {name: 'requests', tone: 'a', of: (f) => f.requests_per_second},
        {name: 'accepts', tone: 'b', of: (f) => f.accepted_per_second},
        {name: '5xx', tone: 'c', of: (f) => f.responses_per_second['5xx']},
      ]),
      new Chart(byId('chart-latency'), 'Latency, logarithmic', micros, [
        {name: 'p50', tone: 'a', of: (f) => latencyOf(f).p50_microseconds},
        {name: 'p99', tone: 'b', of: (f) => latencyOf(f).p99_microseconds},
        {name: 'p99.9', tone: 'c', of: (f) => latencyOf(f).p999_microseconds},
      ], true),
      new Chart(byId('chart-connections'), 'Connections open', count, [
        {name: 'open', tone: 'a', of: (f) => f.open},
      ]),
      new Chart(byId('chart-bytes'), 'Bytes', (n) => bytes(n) + '/s', [
        {name: 'sent', tone: 'a', of: (f) => f.sent_bytes_per_second},
        {name: 'received', tone: 'b', of: (f) => f.received_bytes_per_second},
      ]),
    ];
    this.loops = new Loops(byId('loops'));
  }

  // figures takes those of another second.
  figures(f) {
    this.last = f;
    this.accepted.set(rate(f.accepted_per_second), `${rate(f.closed_per_second)} closed`);
    const bad = f.responses_per_second['5xx'], odd = f.responses_per_second['4xx'];
    this.requests.set(rate(f.requests_per_second), `${rate(odd)} × 4xx, ${rate(bad)} × 5xx`);
    const l = latencyOf(f);
    this.latency.set(micros(l.p99_microseconds),
      l.count ? `p99.9 ${micros(l.p999_microseconds)}` : 'nothing was asked');
    const busiest = Math.max(0, ...f.loops.map((x) => x.busy_share));
    this.busy.set(percent(busiest), `of ${f.loops.length}`, busiest);
    const p = f.process || {};
    if (p.descriptor_limit) {
      this.descriptors.set(count(p.descriptor_limit - p.descriptors), `${count(p.descriptors)} open`,
        p.descriptors / p.descriptor_limit);
    }
    this.memory.set(bytes(p.resident_bytes), f.open >= 1000 ? `${bytes(p.resident_bytes / f.open)} each` : '');
    this.showOpen();
    for (const chart of this.charts) chart.add(f);
    this.loops.set(f.loops);
  }

  // status takes what runs: how many connections there can be.
  status(s) {
    this.capacity = s.capacity;
    this.showOpen();
  }

  showOpen() {
    if (!this.last) return;
    const c = this.capacity;
    this.open.set(count(this.last.open), c ? `of ${count(c.connections)}` : '',
      c ? this.last.open / c.connections : undefined);
    if (c) this.open.node.title = `Connections that are open, of as many as can be: the first wall is ${c.first_wall}`;
  }

  // upstreams takes the state of all endpoints: which of them has the fewest ports left?
  upstreams(all) {
    let fewest, where;
    for (const upstream of all) {
      for (const endpoint of upstream.endpoints) {
        for (const p of endpoint.ports || []) {
          const left = p.capacity - p.open - p.lingering;
          if (fewest === undefined || left < fewest) {
            fewest = left;
            where = {endpoint: endpoint.address, share: 1 - left / p.capacity};
          }
        }
      }
    }
    if (fewest === undefined) this.ports.set('–', 'nothing is dialled by port');
    else this.ports.set(count(fewest), 'to ' + where.endpoint, where.share);
  }
}

// latencyOf are the percentiles of the last second; an empty object when nothing was asked.
function latencyOf(f) {
  return f.latency && f.latency.count ? f.latency : {};
}

// Loops shows how busy each loop is.
class Loops {
  constructor(into) {
    this.rows = [];
    this.body = el('tbody');
    const about = el('p', {class: 'soft'}, 'busy share of the last second');
    into.append(el('div', {class: 'heading'}, el('h2', {}, 'Loops'), about),
      el('table', {class: 'loops'}, el('thead', {}, el('tr', {},
        ['loop', 'busy', 'open', 'turns / s', 'a turn', 'events / turn'].map((name, i) =>
          el('th', {scope: 'col', class: i > 1 ? 'number' : undefined}, name)))),
      this.body));
  }

  set(loops) {
    loops.forEach((l, i) => {
      if (!this.rows[i]) {
        const bar = el('i');
        const share = el('td', {}, el('i', {class: 'meter'}, bar), el('b'));
        const figures = [0, 1, 2, 3].map(() => el('td', {class: 'number'}));
        const cells = [el('td'), share, ...figures];
        this.rows[i] = {bar, cells, node: el('tr', {}, cells)};
        this.body.append(this.rows[i].node);
      }
      const {bar, cells, node} = this.rows[i];
      bar.style.width = `${Math.min(100, 100 * l.busy_share)}%`;
      node.classList.toggle('near', l.busy_share >= 0.8);
      node.classList.toggle('full', l.busy_share >= 0.95);
      write(cells[1].lastChild, percent(l.busy_share));
      [l.worker ? `${l.worker} · ${l.loop}` : l.loop, undefined, count(l.open), rate(l.turns_per_second), micros(l.turn_microseconds),
        l.completions_per_turn.toFixed(1)].forEach((text, k) => { if (text !== undefined) write(cells[k], text); });
    });
    while (this.rows.length > loops.length) this.rows.pop().node.remove();
  }
}
