// The page of a conversation.

import { Calls } from "./calls.js";
import { Door } from "./door.js";
import { Settings } from "./settings.js";
import { Captions, Stages, card, room, usage } from "./shown.js";
import { talk } from "./talk.js";
import { Waves } from "./waves.js";

const MOST_CARDS = 30;
const MOST_RESULTS = 5;
const STATES = {
  away: "Bargein does not answer: is it running?",
  refused: "this link is not valid here: open the one that Bargein prints",
  asleep: "asleep: write, or press the button, to go on",
  offline: "not connected to the server",
  connecting: "connecting to the server",
  listening: "listening: speak",
  hearing: "hears you",
  thinking: "thinking",
  speaking: "speaking: talk over it to stop it",
  ducked: "lowered its voice: it hears you",
  calling: "runs a function",
};
const at = (name) => document.querySelector(`#${name}`);

const waves = new Waves(at("waves"));
const captions = new Captions(at("said"), at("spoken"));
const stages = new Stages(at("stages"));
const calls = new Calls(at("calls"), at("asked"), (command, id) => send({ command, id }));
const settings = new Settings(at("settings"), (command) => door.send(command));
window.voice = talk(at("talk"));

function state(word) {
  at("state").textContent = STATES[word] ?? word;
  document.body.dataset.state = word;
}

function panel({ muted, volume }) {
  at("mute").setAttribute("aria-pressed", String(muted));
  at("mute").textContent = muted ? "Unmute" : "Mute";
  if (document.activeElement !== at("volume")) at("volume").value = volume;
}

function link({ state: word, reason, round_trip_ms: trip }) {
  const known = word === "open" && trip !== null;
  at("trip").textContent = known ? `round trip to the server ${Number(trip.toPrecision(3))} ms` : "";
  at("link").textContent = word === "open" ? "" : `${word}${reason ? `: ${reason}` : ""}`;
}

// Tell the panel for talking which processes answer.
function doubt(stages) {
  const word = (name) => (stages.find(({ stage }) => stage === name)?.late ? "stalled" : "");
  window.voice.doubt({ microphone: word("capture"), speaker: word("playback") });
}

function cut(told) {
  at("cuts").prepend(card(told));
  while (at("cuts").children.length > MOST_CARDS) at("cuts").lastChild.remove();
}

let running = [];
let results = [];

const take = {
  snapshot(all) {
    captions.clear();
    at("cuts").replaceChildren();
    state(all.state);
    at("talk-button").hidden = all.settings.decide !== "push_to_talk";
    at("talk").hidden = all.settings.capture !== "browser" && all.settings.playback !== "browser";
    all.captions.forEach((caption) => captions.show(caption));
    all.interruptions.forEach(cut);
    waves.marks = all.marks;
    waves.follow(all.at_ms);
    take.health(all);
    if (all.panel) panel(all.panel);
    if (all.link) link(all.link);
    if (all.session) take.session(all.session);
    results = all.results.slice(-MOST_RESULTS);
    take.calls(all.calls ?? { calls: [] });
    if (all.usage) take.usage(all.usage);
  },
  state: (told) => state(told.state),
  caption: (told) => captions.show(told),
  interruption: cut,
  levels: (told) => waves.add(told),
  mark: (told) => waves.mark(told),
  health: (told) => {
    stages.show(told.stages, told.at_ms);
    room(at("room"), told.stages);
    doubt(told.stages);
    // Downlink says which settings the server refuses, or has otherwise.
    const downlink = told.stages.find(({ stage }) => stage === "downlink");
    at("unlike").textContent = downlink && !downlink.ok ? downlink.state : "";
  },
  session: (told) => settings.show(told.settings),
  panel,
  link,
  calls: (told) => {
    running = told.calls;
    calls.show(running, results);
  },
  result: (told) => {
    // What a call returned replaces that it was approved.
    results = [...results.filter(({ call_id }) => call_id !== told.call_id), told].slice(-MOST_RESULTS);
    calls.show(running, results);
  },
  usage: (told) => {
    at("usage").textContent = usage(told);
  },
  away: ({ refused }) => {
    state(refused ? "refused" : "away");
    window.voice.doubt({ microphone: "unknown", speaker: "unknown" });
  },
};

const door = new Door((told) => take[told.type]?.(told));

async function send(command) {
  const { done, outcome } = await door.send(command);
  at("outcome").textContent = outcome;
  at("outcome").classList.toggle("refused", !done);
  return done;
}

at("interrupt").addEventListener("click", () => send({ command: "interrupt" }));
at("mute").addEventListener("click", () => {
  const muted = at("mute").getAttribute("aria-pressed") === "true";
  send({ command: muted ? "unmute" : "mute" });
});
at("volume").addEventListener("change", ({ target }) => {
  send({ command: "volume", value: Number(target.value) });
});
at("write").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  if (text && (await send({ command: "type", text }))) at("text").value = "";
});

let pressed = false;
function press(now) {
  if (now === pressed) return;
  pressed = now;
  send({ command: now ? "talk" : "release" });
}
const button = at("talk-button");
button.addEventListener("pointerdown", () => press(true));
for (const name of ["pointerup", "pointercancel", "pointerleave", "blur"]) {
  button.addEventListener(name, () => press(false));
}
button.addEventListener("keydown", ({ key, repeat }) => {
  if (key === " " && !repeat) press(true);
});
button.addEventListener("keyup", ({ key }) => {
  if (key === " ") press(false);
});
