// The settings of the session that a person may change while Bargein runs.

const LABELS = {
  voice: "Voice",
  speed: "Speed",
  instructions: "Instructions",
  language: "Your language (en, de, …)",
  max_output_tokens: "Longest answer in tokens, 0: any",
  reasoning_effort: "How long the model thinks",
  noise_reduction: "Noise reduction by the server",
  "turn_detection.type": "How your turns are found",
  "turn_detection.threshold": "Threshold of speech",
  "turn_detection.prefix_padding_ms": "Sound before your turn, ms",
  "turn_detection.silence_duration_ms": "Silence that ends your turn, ms",
  "turn_detection.eagerness": "How soon your turn ends",
};
// The settings that only one way to find turns has.
const ONLY = {
  "turn_detection.threshold": "server_vad",
  "turn_detection.prefix_padding_ms": "server_vad",
  "turn_detection.silence_duration_ms": "server_vad",
  "turn_detection.eagerness": "semantic_vad",
};

function control({ name, accepted, suggested, low, high }) {
  const long = name === "instructions";
  const made = document.createElement(accepted ? "select" : long ? "textarea" : "input");
  for (const value of accepted ?? []) made.append(new Option(value, value));
  if (long) made.rows = 3;
  if (low !== undefined) Object.assign(made, { type: "number", min: low, max: high, step: "any" });
  if (suggested) {
    const list = document.createElement("datalist");
    list.id = `${name}-suggested`;
    list.append(...suggested.map((value) => new Option(value, value)));
    made.setAttribute("list", list.id);
    return [made, list];
  }
  return [made];
}

export class Settings {
  // `send`: sends a command, and returns its outcome.
  constructor(form, send) {
    this.form = form;
    this.send = send;
    this.rows = new Map(); // by name: { row, input, note, value, changed }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.apply();
    });
    form.addEventListener("input", () => this.fit());
    form.querySelector("#unset").addEventListener("click", () => this.unset());
  }

  show(settings) {
    const names = settings.map(({ name }) => name);
    if (names.join() !== [...this.rows.keys()].join()) this.build(settings);
    for (const { name, value, changed } of settings) {
      const row = this.rows.get(name);
      // What the person is about to enter stays.
      if (row.input.value === row.value) row.input.value = value;
      row.value = String(value);
      row.changed = changed;
      row.row.classList.toggle("changed", changed);
    }
    this.fit();
  }

  build(settings) {
    this.rows.clear();
    const made = settings.map((setting) => {
      const row = document.createElement("label");
      const parts = control(setting);
      const { name, low, high } = setting;
      const range = low === undefined || high > 1000 ? "" : ` (${low} to ${high})`;
      row.append(Object.assign(document.createElement("span"), { textContent: (LABELS[name] ?? name) + range }), ...parts);
      const [input] = parts;
      input.name = name;
      this.rows.set(name, { row, input, value: input.value, changed: false });
      return row;
    });
    this.form.querySelector("#settings-rows").replaceChildren(...made);
  }

  // Show the settings that the chosen way to find turns has, and the buttons that do something.
  fit() {
    const type = this.rows.get("turn_detection.type")?.input.value;
    for (const [name, { row }] of this.rows) row.hidden = name in ONLY && ONLY[name] !== type;
    const rows = [...this.rows.values()];
    const unset = this.form.querySelector("#unset");
    const nothing = !rows.some(({ changed }) => changed);
    // A disabled button loses the focus, and the keyboard its place.
    if (nothing && document.activeElement === unset) this.form.querySelector("button").focus();
    unset.disabled = nothing;
  }

  async apply() {
    const entered = [...this.rows].filter(([, { input, value, row }]) => input.value !== value && !row.hidden);
    await this.all(entered.map(([id, { input }]) => ({ command: "set", id, text: input.value })));
  }

  async unset() {
    const changed = [...this.rows].filter(([, row]) => row.changed);
    // What was entered and not applied goes as well.
    for (const { input, value } of this.rows.values()) input.value = value;
    await this.all(changed.map(([id]) => ({ command: "unset", id })));
  }

  async all(commands) {
    const outcomes = [];
    for (const command of commands) outcomes.push(await this.send(command));
    const said = outcomes.map(({ done, outcome }) =>
      Object.assign(document.createElement("span"), { textContent: outcome, className: done ? "" : "refused" }),
    );
    if (!said.length) said.push("nothing was changed");
    this.form.querySelector("output").replaceChildren(...said);
  }
}
