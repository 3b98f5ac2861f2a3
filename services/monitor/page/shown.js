// Shows the door's messages on the page: words, interruptions, stages, usage.

const MOST = 100;
// Characters of the unheard words on a card: the conversation has all of them.
const MOST_UNHEARD = 240;

export function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// Set what an element says, if it changed. A screen reader, a selection and a tooltip lose their place
// in an element that is replaced.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class Captions {
  // `log` shows the words as they are heard. `spoken`, a live region, gets each caption once, when it
  // no longer changes: a screen reader would read each change.
  constructor(log, spoken) {
    this.log = log;
    this.spoken = spoken;
    this.lines = new Map();
    this.read = new Set();
  }

  clear() {
    this.lines.clear();
    this.log.replaceChildren();
  }

  // `before`: the item that follows in the conversation, if its words came first.
  show({ item_id, role, heard, unheard, cut, final, before }) {
    let line = this.lines.get(item_id);
    const below = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    if (!line) {
      line = element("p", "", role);
      // The words have a direction of their own, and the name stays at the beginning.
      const words = element("bdi");
      words.append(element("span"), element("span"));
      line.append(element("b", role === "user" ? "you" : "assistant"), " ", words);
      this.lines.set(item_id, line);
      this.log.insertBefore(line, this.lines.get(before) ?? null);
      if (this.lines.size > MOST) {
        const [oldest, gone] = this.lines.entries().next().value;
        this.lines.delete(oldest);
        this.read.delete(oldest);
        gone.remove();
      }
    }
    const words = line.lastChild;
    const [said, rest] = words.children;
    if (said.textContent !== heard) said.textContent = heard;
    const kind = cut ? "s" : "span";
    if (rest.localName !== kind) rest.replaceWith(element(kind));
    words.lastChild.textContent = unheard;
    words.lastChild.className = "unheard";
    const over = final && (cut || !unheard.trim()) && heard.trim();
    if (over && !this.read.has(item_id)) {
      this.read.add(item_id);
      const who = role === "user" ? "you" : "assistant";
      this.spoken.append(element("p", `${who}: ${heard}${cut ? " (stopped)" : ""}`));
      while (this.spoken.children.length > MOST) this.spoken.firstChild.remove();
    }
    if (below) this.log.scrollTop = this.log.scrollHeight;
  }
}

const HOPS = ["onset", "ducked", "event", "flush_sent", "flush_received", "silent"];
const NAMES = {
  onset: "you begin",
  ducked: "lowered",
  event: "the server hears you",
  flush_sent: "stop sent",
  flush_received: "stop received",
  silent: "silent",
};

export function card(cut) {
  const made = element("article");
  const silence = cut.silence_ms === null ? "" : ` in ${cut.silence_ms.toFixed(0)} ms`;
  const seconds = (ms) => (ms / 1000).toFixed(1);
  // No sound had come yet, or the reply was text alone.
  const heard = cut.received_ms
    ? `heard ${seconds(cut.heard_ms)} of ${seconds(cut.received_ms)} s`
    : "it had no sound";
  made.append(element("h3", `stopped${silence}, ${heard}`));
  const known = HOPS.filter((name) => name in cut.hops);
  // The hops after the server's event take milliseconds, and those before it take long.
  const after = known.filter((name) => cut.hops[name] >= 0);
  const whole = Math.max(1, ...after.map((name) => cut.hops[name]));
  const bar = element("div", "", "bar");
  bar.setAttribute("aria-hidden", "true");
  after.slice(1).forEach((name, n) => {
    const part = element("i", "", name);
    part.style.width = `${((cut.hops[name] - cut.hops[after[n]]) / whole) * 100}%`;
    bar.append(part);
  });
  const hops = element("ol");
  for (const name of known) hops.append(element("li", `${NAMES[name]} ${cut.hops[name].toFixed(1)} ms`, name));
  if (known.length) made.append(bar, hops);
  for (const { heard, unheard } of cut.items) {
    const words = element("p", heard ? `${heard} ` : "");
    words.dir = "auto";
    words.append(element("s", unheard.length > MOST_UNHEARD ? `${unheard.slice(0, MOST_UNHEARD)} …` : unheard));
    made.append(words);
  }
  return made;
}

// Columns of a stage's row behind its name.
const COLUMNS = 6;

export class Stages {
  constructor(body) {
    this.body = body;
    this.before = new Map();
    this.rows = new Map();
  }

  row(stage) {
    const row = element("tr");
    const name = element("th", stage);
    name.scope = "row";
    row.append(name, ...Array.from({ length: COLUMNS }, () => element("td")));
    this.rows.set(stage, row);
    return row;
  }

  show(stages, at_ms) {
    const rows = stages.map((told) => {
      const row = this.rows.get(told.stage) ?? this.row(told.stage);
      row.className = told.ok ? "" : "bad";
      const sum = Object.values(told.received).reduce((a, b) => a + b, 0);
      const before = this.before.get(told.stage);
      const seconds = before ? (at_ms - before.at_ms) / 1000 : 0;
      const rate = seconds > 0 && before.pid === told.pid ? ((sum - before.sum) / seconds).toFixed(0) : "";
      if (!before || seconds > 0) this.before.set(told.stage, { sum, at_ms, pid: told.pid });
      const faults = [...told.silent.map((t) => `${t} is silent`), ...told.off_rate.map((t) => `${t} is off its rate`)];
      const health = `${told.ok ? "ok" : "not ok"}: ${[told.state, ...faults].join("; ")}`;
      const memory = told.memory_mb === null ? "" : `${told.memory_mb.toFixed(0)} MB`;
      const cpu = told.cpu === null ? "" : `${told.cpu.toFixed(1)} %`;
      const figures = [health, rate, String(told.gaps || ""), String(told.drops || ""), memory, cpu];
      const [, ...cells] = row.children;
      cells.forEach((cell, n) => say(cell, figures[n]));
      cells[0].title = Object.entries(told.counters).map(([n, c]) => `${n} ${c}`).join("\n");
      return row;
    });
    const shown = [...this.body.children];
    if (rows.length !== shown.length || rows.some((row, n) => row !== shown[n])) this.body.replaceChildren(...rows);
  }
}

// The state of the room, as the stages next to the microphone report it.
const ROOM = { capture: "microphone", echo: "echo" };

export function room(list, stages) {
  const known = stages.filter(({ stage }) => stage in ROOM);
  const texts = known.flatMap(({ stage, state }) => [ROOM[stage], state]);
  if (list.children.length !== texts.length) {
    list.replaceChildren(...texts.map((_, n) => element(n % 2 ? "dd" : "dt")));
  }
  texts.forEach((text, n) => say(list.children[n], text));
}

export function usage({ conversation, currency }) {
  const tokens = Object.entries(conversation)
    .filter(([name, count]) => count && /^(input|output)_/.test(name))
    .map(([name, count]) => `${count} ${name.replace("_", " ")}`);
  if (!tokens.length) return "";
  const cost = conversation.cost_micros;
  const money = cost ? `, about ${(cost / 1e6).toFixed(2)} ${currency} (an estimate)` : "";
  return `${conversation.responses} responses: ${tokens.join(", ")} tokens${money}`;
}
