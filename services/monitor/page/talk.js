// The panel with which a person talks from this page.

import { token } from "./token.js";
import { Voice } from "./voice.js";

const HERE = ["localhost", "127.0.0.1", "[::1]"];
const WORDS = {
  microphone: {
    off: "The microphone is off.",
    asking: "Allow the microphone in the browser's question.",
    on: "Bargein hears you.",
    waiting: "The microphone waits for Bargein.",
    lost: "The microphone lost its connection, and connects again.",
    asleep: "The microphone sleeps.",
    taken: "Another page is the microphone now.",
    refused: "There is no microphone",
    stalled: "Bargein does not hear you now: capture does not answer.",
    unknown: "It is not known whether Bargein hears you.",
  },
  speaker: {
    off: "The speaker is off.",
    on: "You hear Bargein.",
    waiting: "The speaker waits for Bargein.",
    lost: "The speaker lost its connection, and connects again.",
    asleep: "The speaker sleeps.",
    taken: "Another page is the speaker now.",
    stalled: "You do not hear Bargein now: playback does not answer.",
    unknown: "It is not known whether you hear Bargein.",
  },
};

// Return for each process the addresses to try: its own port where that can be reached, then the
// door's, which passes everything on.
async function offer() {
  const secret = token();
  const answer = await fetch("/voice", { headers: { Authorization: `Bearer ${secret}` } });
  if (!answer.ok) throw new Error((await answer.json()).outcome ?? answer.statusText);
  const ports = await answer.json();
  const protocols = ["bargein.voice", `token.${secret}`];
  const here = location.protocol === "http:" && HERE.includes(location.hostname);
  const door = location.origin.replace(/^http/, "ws");
  const addresses = (stage) => {
    if (!ports[stage]) return [];
    const passed = { url: `${door}/voice/${stage}`, protocols };
    return here ? [{ url: `ws://127.0.0.1:${ports[stage]}/`, protocols }, passed] : [passed];
  };
  return { capture: addresses("capture"), playback: addresses("playback") };
}

// Make the panel in an element of the page, and return its `Voice`.
export function talk(element) {
  const voice = new Voice(offer);
  const button = document.createElement("button");
  const lines = document.createElement("p");
  lines.setAttribute("role", "status");
  button.type = "button";
  let fault = "";
  const show = () => {
    button.textContent = voice.running ? "Stop talking" : "Talk from this page";
    const state = (each) => (voice[each] === "on" && voice.doubts[each]) || voice[each];
    const said = ["microphone", "speaker"].map((each) => WORDS[each][state(each)]);
    if (!voice.running) said.push("Press the button to talk and to hear Bargein here.");
    if (voice.reason && voice.microphone === "refused") said[0] += `: ${voice.reason}`;
    if (voice.running && voice.context.state !== "running") {
      said.push("The browser has stopped the sound: press the button again.");
    }
    if (voice.running && voice.microphone === "off" && voice.speaker === "off") {
      said.push("Bargein uses other devices: see capture.device and playback.device.");
    }
    lines.textContent = fault || said.join(" ");
  };
  button.addEventListener("click", async () => {
    fault = "";
    try {
      await (voice.running ? voice.stop() : voice.start());
    } catch (error) {
      fault = error.message;
      await voice.stop();
    }
    show();
  });
  voice.addEventListener("change", show);
  element.append(button, lines);
  show();
  return voice;
}
