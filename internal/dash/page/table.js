import {ask, byId, el, repeat, write} from './dom.js';
import {bytes, count, micros, plural, time} from './format.js';
import {Shares} from './chart.js';

const size = 50; // connections on a page

// The columns: a name, the key to sort by, what is shown, and from which width of the page on.
const columns = [
  {name: 'state', of: (c) => c.state, state: true},
  {name: 'TCP', of: (c) => c.tcp ? c.tcp.state : '–', wide: 2},
  {name: 'protocol', of: (c) => c.protocol, wide: 1},
  {name: 'peer', of: (c) => c.peer || 'unix socket'},
  {name: 'age', sort: 'age', of: (c) => time(c.age_seconds), number: true},
  {name: 'quiet', sort: 'idle', of: (c) => time(c.quiet_seconds), number: true},
  {name: 'in', sort: 'in', of: (c) => bytes(c.received_bytes), number: true, wide: 1},
  {name: 'out', sort: 'out', of: (c) => bytes(c.sent_bytes), number: true},
  {name: 'queued', sort: 'queued', of: (c) => bytes(c.queued_bytes), number: true, wide: 2},
  {name: 'requests', sort: 'requests', of: (c) => count(c.requests), number: true, wide: 1},
  {name: 'RTT', sort: 'rtt', of: (c) => micros(c.tcp && c.tcp.rtt_microseconds), number: true, wide: 1},
  {name: 'resent', sort: 'retransmits', of: (c) => count(c.tcp && c.tcp.retransmits), number: true, wide: 2},
  {name: 'leads to', of: (c) => [c.upstream, c.endpoint].filter(Boolean).join(' ') || '–', wide: 2},
  {name: 'id', sort: 'id', of: (c) => c.id, number: true, wide: 2},
];

const states = [['active', 'a'], ['idle', 'd'], ['paused', 'b'], ['opening', 'e'], ['draining', 'f'], ['closing', 'c']];
const keys = ['state', 'peer', 'listener', 'loop', 'protocol', 'older', 'idle', 'min_bytes'];
const protocols = ['http', 'tcp', 'echo', 'discard', 'upstream', 'tunnel'];

// read makes a query of what somebody searches for: words with a key, as in older:5m, and words that tell what they
// are: a number is an ID, what looks like an address is the peer's, and anything else is a state.
export function read(text) {
  const query = new URLSearchParams();
  const found = {query, id: '', exactly: '', said: false};
  for (const word of text.trim().split(/\s+/).filter(Boolean)) {
    found.said = true;
    const [, key, value] = word.match(/^([a-z_]+)[:=](.+)$/) || [];
    if (keys.includes(key)) query.append(key, value);
    else if (/^\d+$/.test(word)) found.id = word;
    else if (/^(\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:.]+\]):\d+$/.test(word)) {
      found.exactly = word;
      query.append('peer', word.replace(/:\d+$/, '').replace(/[[\]]/g, ''));
    } else if (/^[0-9a-fA-F]*[.:][0-9a-fA-F.:/]*$/.test(word)) query.append('peer', word);
    else if (protocols.includes(word)) query.append('protocol', word);
    else query.append('state', word);
  }
  return found;
}

// Table lists connections, and closes them.
export class Table {
  constructor(confirm) {
    this.confirm = confirm;
    this.sort = '';
    this.order = '';
    this.offset = 0;
    this.matched = 0;
    this.rows = new Map();
    this.listed = [];
    this.selected = '';
    this.search = byId('search');
    this.body = byId('table').tBodies[0];
    this.states = new Shares(byId('states'), 'Connections by state', count);
    this.head();
    this.search.addEventListener('input', () => this.from(0));
    byId('previous').addEventListener('click', () => this.page(-1));
    byId('next').addEventListener('click', () => this.page(1));
    byId('close-all').addEventListener('click', () => this.closeAll());
    this.again = repeat(2, () => this.load());
  }

  head() {
    this.heads = columns.map((c) => {
      const name = c.sort ? el('button', {type: 'button', onclick: () => this.sortBy(c.sort)}, c.name) : c.name;
      return el('th', {scope: 'col', class: classOf(c), 'data-sort': c.sort}, name);
    });
    byId('table').tHead.rows[0].append(...this.heads, el('th', {scope: 'col'}, el('span', {class: 'unseen'}, 'close')));
  }

  sortBy(key) {
    const upwards = key === 'id';
    if (this.sort !== key) [this.sort, this.order] = [key, upwards ? 'asc' : 'desc'];
    else this.order = this.order === 'asc' ? 'desc' : 'asc';
    for (const head of this.heads) {
      if (head.dataset.sort !== this.sort) head.removeAttribute('aria-sort');
      else head.setAttribute('aria-sort', this.order === 'asc' ? 'ascending' : 'descending');
    }
    this.from(0);
  }

  // nextSort goes on to the next thing to sort by, for the keyboard.
  nextSort() {
    const all = columns.map((c) => c.sort).filter(Boolean);
    this.sortBy(all[(all.indexOf(this.sort) + 1) % all.length]);
  }

  page(by) {
    const offset = this.offset + by * size;
    if (offset >= 0 && offset < Math.max(this.matched, 1)) this.from(offset);
  }

  from(offset) {
    this.offset = offset;
    this.again();
  }

  // find searches for something that was clicked elsewhere on the page.
  find(text) {
    this.search.value = text;
    this.from(0);
    byId('connections').scrollIntoView();
  }

  async load() {
    const asked = read(this.search.value);
    try {
      const list = asked.id ? await this.one(asked.id) : await this.list(asked);
      this.show(list, asked);
      this.problem('');
    } catch (problem) {
      this.problem(problem.message);
    }
  }

  async list({query, exactly, said}) {
    query = new URLSearchParams(query);
    if (this.sort) query.set('sort', this.sort);
    if (this.order) query.set('order', this.order);
    query.set('offset', exactly ? 0 : this.offset);
    query.set('limit', exactly ? 10000 : size);
    const list = await ask('GET', '/v1/conns?' + query);
    if (exactly) {
      list.connections = list.connections.filter((c) => c.peer === exactly);
      list.matched = list.connections.length;
    }
    const all = said ? (await ask('GET', '/v1/conns?limit=0')).states : list.states;
    this.states.set(states.map(([name, tone]) => [name, tone, all[name] || 0, () => this.find(name)]));
    return list;
  }

  async one(id) {
    try {
      const found = await ask('GET', '/v1/conns/' + id);
      return {connections: [found], matched: 1};
    } catch (problem) {
      if (problem.status !== 404) throw problem;
      return {connections: [], matched: 0};
    }
  }

  show(list, {said}) {
    this.matched = list.matched;
    this.listed = list.connections.map((c) => c.id);
    const stay = new Set(this.listed);
    for (const [id, row] of this.rows) {
      if (!stay.has(id)) {
        row.node.remove();
        this.rows.delete(id);
      }
    }
    list.connections.forEach((c, i) => {
      const row = this.rows.get(c.id) || this.row(c);
      row.connection = c;
      columns.forEach((column, k) => write(row.cells[k], column.of(c)));
      row.cells[0].dataset.state = c.state;
      if (this.body.rows[i] !== row.node) this.body.insertBefore(row.node, this.body.rows[i] || null);
    });
    if (!stay.has(this.selected)) this.selected = '';
    write(byId('none'), said ? 'no connection is like that' : 'no connection is open');
    byId('none').hidden = this.listed.length > 0;
    const last = Math.min(this.offset + size, this.matched);
    write(byId('matched'), said ? `${count(this.matched)} found` : `${count(this.matched)} open`);
    const range = `${count(this.offset + 1)} to ${count(last)} of ${count(this.matched)}`;
    write(byId('page'), this.matched ? range : 'none');
    byId('previous').disabled = this.offset === 0;
    byId('next').disabled = last >= this.matched;
    byId('close-all').hidden = !said || this.matched === 0;
    if (this.offset > 0 && this.offset >= this.matched) this.from(0);
  }

  row(c) {
    const cells = columns.map((column) => el('td', {class: classOf(column)}));
    const touch = {onclick: () => this.select(c.id), ondblclick: () => this.details(c.id)};
    const node = el('tr', {'data-id': c.id, ...touch}, cells,
      el('td', {}, el('button', {type: 'button', class: 'close', title: 'Close this connection (x)',
        'aria-label': 'Close connection ' + c.id, onclick: () => this.close(c.id)}, '×')));
    const row = {node, cells, connection: c};
    this.rows.set(c.id, row);
    return row;
  }

  select(id) {
    const before = this.rows.get(this.selected);
    if (before) before.node.removeAttribute('aria-selected');
    this.selected = id;
    const row = this.rows.get(id);
    if (!row) return;
    row.node.setAttribute('aria-selected', 'true');
    row.node.scrollIntoView({block: 'nearest'});
  }

  // move selects the next row, or the one before.
  move(by) {
    const at = this.listed.indexOf(this.selected);
    const to = at < 0 ? 0 : Math.min(Math.max(at + by, 0), this.listed.length - 1);
    if (this.listed.length) this.select(this.listed[to]);
  }

  details(id = this.selected) {
    const row = this.rows.get(id);
    if (!row) return;
    const lines = [];
    const flat = (document, before) => {
      for (const [name, value] of Object.entries(document)) {
        if (value && typeof value === 'object') flat(value, name + ' ');
        else lines.push(el('dt', {}, before + name.replaceAll('_', ' ')), el('dd', {}, value));
      }
    };
    flat(row.connection, '');
    const told = el('dl', {class: 'events'});
    this.confirm('Connection ' + id, [el('dl', {}, lines), told], 'Close it', () => this.end(id));
    this.events(id, told);
  }

  // events tells what happened to a connection last, if the server recorded it: it does while one is not idle.
  async events(id, into) {
    try {
      const {events} = await ask('GET', `/v1/conns/${id}/events`);
      into.replaceChildren(...events.slice(-12).map((e) => [
        el('dt', {}, `${time(Math.abs(e.at_seconds))} ago`), el('dd', {}, [e.event, e.detail].filter(Boolean).join(', ')),
      ]).flat());
    } catch { // it has gone idle, or is over
    }
  }

  close(id = this.selected) {
    const row = this.rows.get(id);
    if (!row) return;
    const c = row.connection;
    this.confirm('Close this connection?', [
      el('p', {}, `${c.state}, ${c.protocol}, from ${c.peer || 'a unix socket'}, ${time(c.age_seconds)} old`),
      el('p', {class: 'soft'}, 'It is cut off: what is under way on it is lost.'),
    ], 'Close it', () => this.end(id));
  }

  async end(id) {
    await ask('DELETE', '/v1/conns/' + id);
    this.again();
  }

  async closeAll() {
    const {query, id, exactly, said} = read(this.search.value);
    if (!said) return;
    if (id || exactly) {
      this.close(this.listed[0]);
      return;
    }
    try {
      const would = await ask('POST', `/v1/conns/close?${query}&dry_run=true`);
      this.confirm(`Close ${plural(would.matched, 'connection')}?`, [
        el('p', {}, 'All that match: ' + this.search.value),
        el('p', {class: 'soft'}, 'They are cut off: what is under way on them is lost.'),
      ], 'Close them', async () => {
        await ask('POST', `/v1/conns/close?${query}`);
        this.again();
      });
    } catch (problem) {
      this.problem(problem.message);
    }
  }

  problem(text) {
    write(byId('search-problem'), text);
    byId('search-problem').hidden = text === '';
  }
}

const classOf = (c) => [c.number && 'number', c.wide && 'wide-' + c.wide, c.state && 'state'].filter(Boolean).join(' ');
