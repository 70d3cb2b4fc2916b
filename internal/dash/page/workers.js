import {ask, byId, el, repeat, write} from './dom.js';
import {bytes, count, percent, rate, time} from './format.js';

// What is told of a worker: the head of the column, how it is read, and whether it is left out where there is no room.
const columns = [
  ['no.', (w) => w.worker],
  ['slot', (w) => w.slot, 'number wide-1'],
  ['process', (w) => w.pid || '–', 'number wide-1'],
  ['state', (w) => w.state],
  ['open', (w) => count(w.connections), 'number'],
  ['requests / s', (w) => rate(w.requests_per_second), 'number'],
  ['CPU', (w) => percent(w.processors), 'number'],
  ['memory', (w) => bytes(w.resident_bytes), 'number wide-1'],
  ['restarts', (w) => count(w.restarts), 'number wide-1'],
  ['up', (w) => time(w.uptime_seconds), 'number wide-1'],
];

// Workers shows the worker processes below a supervisor. The card is there when the server has some.
export class Workers {
  constructor() {
    this.card = byId('workers');
    this.told = el('p', {class: 'soft', role: 'status'}, '…');
    this.body = el('tbody');
    this.rows = new Map();
    this.card.append(el('div', {class: 'heading'}, el('h2', {}, 'Workers'), this.told),
      el('div', {class: 'scroll'}, el('table', {}, el('thead', {}, el('tr', {},
        columns.map(([name, , kind]) => el('th', {scope: 'col', class: kind}, name)))), this.body)));
    this.again = repeat(2, () => this.load());
  }

  // status takes what runs: a server of one process has no workers.
  status(s) {
    const hidden = s.workers === undefined, appears = this.card.hidden && !hidden;
    this.card.hidden = byId('to-workers').hidden = hidden;
    if (appears) this.again();
  }

  // focus goes to the card.
  focus() {
    if (this.card.hidden) return;
    this.card.scrollIntoView();
    this.card.focus({preventScroll: true});
  }

  async load() {
    if (this.card.hidden) return;
    try {
      this.show(await ask('GET', '/v1/workers'));
    } catch (problem) {
      this.tell(problem.message, true);
    }
  }

  show(all) {
    const {condition, ready, desired} = all;
    this.tell([`${ready} of ${desired} serve`, condition, all.process_model,
      all.retry_in_seconds ? `the next start in ${time(all.retry_in_seconds)}` : ''].filter(Boolean).join(', '),
    ready < desired || condition === 'crash loop');
    const gone = new Set(this.rows.keys());
    for (const w of [...all.workers].sort((a, b) => a.seat - b.seat || a.worker - b.worker)) {
      gone.delete(w.worker);
      if (!this.rows.has(w.worker)) {
        this.rows.set(w.worker, el('tr', {}, columns.map(([name, , kind]) =>
          name === 'state' ? el('td', {}, el('span', {class: 'state'}), ' ', el('small', {class: 'wide-1'})) :
            el('td', {class: kind}))));
      }
      const row = this.rows.get(w.worker);
      columns.forEach(([name, of], i) => write(name === 'state' ? row.cells[i].firstChild : row.cells[i], of(w)));
      row.querySelector('.state').dataset.state = w.state;
      write(row.querySelector('small'), w.why || '');
      row.classList.toggle('restarted', w.restarts > 0);
      if (row.parentNode !== this.body) this.body.append(row);
    }
    for (const number of gone) {
      this.rows.get(number).remove();
      this.rows.delete(number);
    }
  }

  tell(text, bad) {
    write(this.told, text);
    this.told.className = bad ? 'problem' : 'soft';
  }
}
