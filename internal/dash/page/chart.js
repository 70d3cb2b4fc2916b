import {el, svg, write} from './dom.js';

// How many seconds a chart remembers, and how many it shows at least.
const memory = 300, least = 60;

const width = 600, height = 130;

// Chart draws series of numbers, one a second, over up to five minutes. A series is {name, tone, of}, where of takes
// the number from the figures of a second; undefined is a gap. A logarithmic chart begins at 1. Under the mouse the
// legend tells that second.
export class Chart {
  constructor(into, title, unit, series, logarithmic = false) {
    this.unit = unit;
    this.logarithmic = logarithmic;
    this.series = series;
    this.history = [];
    this.at = -1;
    this.span = least;
    this.lines = series.map((s) => svg('path', {class: 'line tone-' + s.tone}));
    this.areas = series.map((s) => svg('path', {class: 'area tone-' + s.tone}));
    this.values = series.map(() => el('b'));
    this.top = el('span', {class: 'top'});
    this.begin = el('span');
    this.cursor = svg('line', {class: 'cursor', y1: 0, y2: height, visibility: 'hidden'});
    const drawing = svg('svg', {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true'},
      [0, 0.5, 1].map((y) => svg('line', {class: 'grid', x1: 0, x2: width, y1: y * height, y2: y * height})),
      this.areas, this.lines, this.cursor);
    drawing.addEventListener('pointermove', (e) => {
      const box = drawing.getBoundingClientRect();
      this.at = Math.round((e.clientX - box.left) / box.width * (this.span - 1));
      this.draw();
    });
    drawing.addEventListener('pointerleave', () => {
      this.at = -1;
      this.draw();
    });
    this.when = el('span', {class: 'soft'}, '');
    into.append(
      el('div', {class: 'heading'}, el('h2', {}, title), this.when),
      el('p', {class: 'legend'}, series.map((s, i) =>
        el('span', {}, el('i', {class: 'tone-' + s.tone}), s.name + ' ', this.values[i]))),
      el('div', {class: 'plot'}, this.top, drawing),
      el('div', {class: 'axis soft'}, this.begin, el('span', {}, 'now')));
  }

  // add takes the figures of another second.
  add(figures) {
    // Seconds that nobody told of are a gap.
    const at = Date.parse(figures.time), missed = Math.round((at - this.last) / 1000) - 1;
    for (let i = Math.min(missed, memory); i > 0; i--) this.history.push(this.series.map(() => undefined));
    this.last = at;
    this.history.push(this.series.map((s) => s.of(figures)));
    while (this.history.length > memory) this.history.shift();
    this.draw();
  }

  draw() {
    // The time that is shown grows with what is known, a minute at a time.
    this.span = Math.min(memory, Math.max(least, Math.ceil(this.history.length / 60) * 60));
    write(this.begin, `${this.span / 60} min ago`);
    const first = this.span - this.history.length; // the place of the oldest
    const highest = round(Math.max(0, ...this.history.flat().filter((n) => n !== undefined)));
    write(this.top, highest > 0 ? this.unit(highest) : '');
    const x = (i) => ((first + i) / (this.span - 1) * width).toFixed(1);
    const share = (n) => {
      if (highest <= 0) return 0;
      return this.logarithmic ? Math.log(Math.max(n, 1)) / Math.log(Math.max(highest, 10)) : n / highest;
    };
    const y = (n) => (height - 1 - share(n) * (height - 4)).toFixed(1);
    this.series.forEach((s, k) => {
      let line = '', area = '', open = false, last = 0;
      this.history.forEach((values, i) => {
        const n = values[k];
        if (n === undefined) {
          if (open) area += `L${x(last)} ${height}Z`;
          open = false;
          return;
        }
        if (!open) area += `M${x(i)} ${height}`;
        line += `${open ? 'L' : 'M'}${x(i)} ${y(n)}`;
        area += `L${x(i)} ${y(n)}`;
        open = true;
        last = i;
      });
      if (open) area += `L${x(last)} ${height}Z`;
      this.lines[k].setAttribute('d', line);
      this.areas[k].setAttribute('d', area);
    });
    this.tell(first);
  }

  // tell writes the legend: of the second under the mouse, or of the last one.
  tell(first) {
    let i = this.history.length - 1;
    const pointed = this.at - first;
    const over = this.at >= 0 && pointed >= 0 && pointed < this.history.length;
    if (over) i = pointed;
    this.cursor.setAttribute('visibility', over ? 'visible' : 'hidden');
    if (over) {
      const at = this.at / (this.span - 1) * width;
      this.cursor.setAttribute('x1', at);
      this.cursor.setAttribute('x2', at);
    }
    write(this.when, over ? `${this.history.length - 1 - i} s ago` : '');
    const values = this.history[i] || [];
    this.values.forEach((node, k) => write(node, values[k] === undefined ? '–' : this.unit(values[k])));
  }
}

// round is the next number of one digit and a half above n, so that the scale stays while the figures sway.
function round(n) {
  if (n <= 0) return 0;
  const step = 10 ** Math.floor(Math.log10(n));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((f) => f * step).find((f) => f >= n * 1.0001) || 10 * step;
}

// Shares is a bar of parts that make up a whole, and what each of them is.
export class Shares {
  constructor(into, title, unit) {
    this.unit = unit;
    this.bar = el('div', {class: 'shares', 'aria-hidden': 'true'});
    this.legend = el('p', {class: 'legend'});
    this.parts = new Map();
    into.append(el('div', {class: 'heading'}, el('h2', {}, title)), this.bar, this.legend);
  }

  // set takes parts as [name, tone, number, listener of clicks on its name].
  set(parts) {
    for (const [name, tone, n, pick] of parts) {
      let part = this.parts.get(name);
      if (!part) {
        part = {bar: el('i', {class: 'tone-' + tone}), value: el('b')};
        part.key = el('button', {type: 'button', class: 'key', onclick: pick}, el('i', {class: 'tone-' + tone}),
          name + ' ', part.value);
        this.parts.set(name, part);
        this.bar.append(part.bar);
        this.legend.append(part.key);
      }
      part.bar.style.flexGrow = n;
      part.bar.hidden = n === 0;
      part.key.classList.toggle('none', n === 0);
      write(part.value, this.unit(n));
    }
  }
}
