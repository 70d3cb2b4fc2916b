import {ask, byId, el, repeat, write} from './dom.js';
import {plural} from './format.js';

// Doctor shows what is wrong with the host, the worst first: each with its evidence, its cause and its fix.
export class Doctor {
  constructor() {
    this.told = el('p', {class: 'soft'}, 'looking …');
    this.list = el('div', {class: 'findings'});
    byId('doctor').append(
      el('div', {class: 'heading'}, el('h2', {}, 'Doctor'), this.told,
        el('button', {type: 'button', onclick: () => this.again()}, 'Look again')),
      this.list);
    this.again = repeat(60, () => this.load());
  }

  async load() {
    write(this.told, 'looking …');
    try {
      this.show(await ask('GET', '/v1/doctor'));
    } catch (problem) {
      write(this.told, problem.status === 404 ? 'this server has no doctor' : problem.message);
    }
  }

  show(report) {
    const open = new Set([...this.list.querySelectorAll('details[open]')].map((d) => d.dataset.key));
    this.list.replaceChildren(...report.findings.map((f) => {
      const key = f.check + ' ' + f.title;
      return el('details', {'data-key': key, open: open.has(key)},
        el('summary', {}, el('span', {class: 'harm', 'data-harm': f.harm}, f.harm), f.title),
        el('p', {}, f.cause),
        f.evidence && el('ul', {}, f.evidence.map((line) => el('li', {}, line))),
        f.fix && el('p', {}, el('b', {}, 'fix '), el('code', {}, f.fix)),
        f.better && el('p', {}, el('b', {}, 'better '), f.better),
        f.recheck && el('p', {}, el('b', {}, 'check again '), el('code', {}, f.recheck)));
    }));
    const well = report.well ? report.well.length : 0, notes = report.notes ? report.notes.length : 0;
    write(this.told, `${plural(report.findings.length, 'finding')}, ${plural(well, 'check')} well` +
      (notes ? `, ${notes} could not tell` : ''));
  }
}

// Ended shows connections that did not end in order, the last one on top.
export class Ended {
  constructor(find) {
    this.find = find;
    this.told = el('p', {class: 'soft'}, '…');
    this.body = el('tbody');
    byId('ended').append(el('div', {class: 'heading'}, el('h2', {}, 'Ended badly'), this.told),
      el('div', {class: 'scroll'}, el('table', {}, el('thead', {}, el('tr', {},
        ['when', 'cause', 'peer', 'error'].map((name) => el('th', {scope: 'col'}, name)))), this.body)));
    this.meanings = new Map();
    this.begin();
  }

  // anew forgets what another process has told.
  anew() {
    this.body.replaceChildren();
    this.begin();
  }

  async begin() {
    try {
      for (const cause of await ask('GET', '/v1/causes')) {
        if (cause.of === 'connection') this.meanings.set(cause.code, `${cause.meaning}. Look at: ${cause.look_at}`);
      }
      const {closed} = await ask('GET', '/v1/closed?limit=500');
      closed.filter((c) => c.cause !== 'ended').slice(0, 20).reverse().forEach((c) => this.add(c));
    } catch { // the stream tells of those to come
    }
    this.tell();
  }

  add(c) {
    this.body.prepend(el('tr', {},
      el('td', {}, (c.ended || '').replace(/.*T|Z/g, '')),
      el('td', {}, el('span', {class: 'cause', title: this.meanings.get(c.cause)}, c.cause)),
      el('td', {}, c.peer || '–'),
      el('td', {class: 'soft'}, c.error || '')));
    while (this.body.rows.length > 20) this.body.lastChild.remove();
    this.tell();
  }

  tell() {
    write(this.told, this.body.rows.length ? 'the last ones' : 'none yet');
  }
}
