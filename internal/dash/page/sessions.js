import {ask, byId, el, repeat, write} from './dom.js';
import {bytes, count, plural, rate, time} from './format.js';

const most = 20; // sessions that are listed

// Rates tells how much a counter grew in a second between two looks.
export class Rates {
  constructor() {
    this.before = new Map();
  }

  // of takes a number that was counted, and returns its rate: undefined at the first look, or when it began anew.
  of(name, n) {
    const now = performance.now(), was = this.before.get(name);
    this.before.set(name, {n, now});
    return was && n >= was.n && now > was.now ? (n - was.n) / (now - was.now) * 1000 : undefined;
  }
}

// Sessions lists those of datagrams, which have no connections. The card is there when a listener passes on datagrams.
export class Sessions {
  constructor(confirm) {
    this.confirm = confirm;
    this.card = byId('sessions');
    this.told = el('p', {class: 'soft'}, '…');
    this.body = el('tbody');
    const heads = [['listener'], ['client'], ['leads to'], ['age', 1], ['quiet', 1], ['datagrams in', 1], ['in', 1],
      ['datagrams out', 1], ['out', 1]];
    this.card.append(el('div', {class: 'heading'}, el('h2', {}, 'Sessions of datagrams'), this.told),
      el('div', {class: 'scroll'}, el('table', {}, el('thead', {}, el('tr', {},
        heads.map(([name, number]) => el('th', {scope: 'col', class: number ? 'number' : undefined}, name)),
        el('th', {scope: 'col'}, el('span', {class: 'unseen'}, 'end')))), this.body)));
    this.rates = new Rates();
    this.again = repeat(5, () => this.load());
  }

  // status takes what the listeners have counted.
  status(s) {
    const passing = (s.streams || []).filter((l) => l.listener.startsWith('udp:') || l.listener.startsWith('unix:'));
    this.card.hidden = passing.length === 0;
    if (this.card.hidden) return;
    const sum = (name) => passing.reduce((n, l) => n + (l.counts[name] || 0), 0);
    const begun = this.rates.of('sessions', sum('sessions'));
    const bad = [['sessions_refused', 'refused'], ['sessions_unreached', 'not reached'], ['sessions_evicted', 'evicted'],
      ['datagrams_lost', 'datagrams lost']].filter(([name]) => sum(name)).map(([name, text]) => `${count(sum(name))} ${text}`);
    this.about = [begun === undefined ? '' : `${rate(begun)} begun / s`, ...bad].filter(Boolean).join(', ');
  }

  async load() {
    if (this.card.hidden) return;
    try {
      const list = await ask('GET', '/v1/sessions?limit=' + most);
      this.show(list);
    } catch (problem) {
      write(this.told, problem.message);
    }
  }

  show(list) {
    write(this.told, [`${count(list.open)} open`, this.about, list.open > most ? `${most} of them below` : '']
      .filter(Boolean).join(', '));
    this.body.replaceChildren(...list.sessions.map((s) => el('tr', {},
      el('td', {}, s.listener), el('td', {}, s.peer || '–'),
      el('td', {}, s.endpoint ? s.endpoint + (s.reached ? '' : ' (not reached)') : '–'),
      [time(s.age_seconds), time(s.quiet_seconds), count(s.received_datagrams), bytes(s.received_bytes),
        count(s.sent_datagrams), bytes(s.sent_bytes)].map((text) => el('td', {class: 'number'}, text)),
      el('td', {}, el('button', {type: 'button', class: 'close', title: 'End this session',
        'aria-label': 'End session ' + s.id, onclick: () => this.end(s)}, '×')))));
    if (list.open === 0) this.body.replaceChildren(el('tr', {}, el('td', {colspan: 10, class: 'soft'}, 'none is open')));
  }

  end(s) {
    this.confirm('End this session?', [
      el('p', {}, `${plural(s.received_datagrams, 'datagram')} from ${s.peer || 'a unix socket'}, ` +
        `${time(s.age_seconds)} old`),
      el('p', {class: 'soft'}, 'What the client sends next begins another.'),
    ], 'End it', async () => {
      await ask('DELETE', '/v1/sessions/' + s.id);
      this.again();
    });
  }
}
