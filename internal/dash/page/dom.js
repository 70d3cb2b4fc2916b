// Elements made of names and texts. Nothing here, and nothing that uses it, makes markup of a text: what peers and
// configurations call themselves is shown as it is.

// fill sets attributes and children of a node: "on..." is a listener, a Node is itself, anything else is a text.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== undefined && value !== null) node.setAttribute(name, String(value));
  }
  for (const child of children.flat()) {
    if (child !== undefined && child !== null) node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

export const byId = (id) => document.getElementById(id);

// write sets a text if it is another: a page that repaints nothing without need stays calm under the mouse.
export function write(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

// ask asks the admin API. What it refuses is an Error with its words.
export async function ask(method, path) {
  let answer;
  try {
    answer = await fetch(path, {method, headers: {Accept: 'application/json'}, cache: 'no-store'});
  } catch {
    throw new Error('the server does not answer');
  }
  let document = {};
  try {
    document = await answer.json();
  } catch {
    if (answer.ok) throw new Error('the server answers what is no JSON');
  }
  if (!answer.ok) {
    const problem = new Error([document.error || `the server answers ${answer.status}`, document.mend]
      .filter(Boolean).join('; '));
    problem.status = answer.status;
    throw problem;
  }
  return document;
}

// repeat calls f now and again, and waits for its end before it counts the time to the next call. A call that takes
// long, as a list of a million connections does, is made less often: nine tenths of the time nobody asks. It rests
// while nobody looks. The result calls f at once.
export function repeat(seconds, f) {
  let timer, running = false, again = false;
  const once = async () => {
    clearTimeout(timer);
    if (running) {
      again = true;
      return;
    }
    running = true;
    const began = performance.now();
    try {
      if (!document.hidden) await f();
    } finally {
      running = false;
      const took = (performance.now() - began) / 1000;
      timer = setTimeout(once, again ? 0 : 1000 * Math.max(seconds, 9 * took));
      again = false;
    }
  };
  document.addEventListener('visibilitychange', () => { if (!document.hidden) once(); });
  once();
  return once;
}
