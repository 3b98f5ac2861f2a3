// The speaker: plays what playback sends, and reports how much of it was rendered. It drops what it
// holds when it is told to. docs/browser.md describes the messages.

import { Filter } from "./resample.js";

const RATE = 24000;
// Playback sends at most 0.5 s ahead.
const RING = 2 * RATE;
const QUANTA_PER_REPORT = 2;

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.ring = new Float32Array(RING);
    this.place = 0; // the next sample to render; between two samples if the rates differ
    this.phase = 0; // the same, in 1 / up samples after a whole one
    this.end = 0; // where the samples that have come end
    this.fadeEnd = -1; // where a fade ends; -1: there is none
    this.fade = 1; // the length of that fade
    this.silence = 0; // samples of silence that were rendered because there was nothing else
    this.asked = 0; // the last recall that came
    this.recalled = 0; // the last recall that took effect
    this.quanta = 0; // quanta since the last report
    this.frame = currentFrame; // the first frame of the next quantum
    this.silent = false; // silence was rendered since the last report
    this.filter = sampleRate === RATE ? null : new Filter(RATE, sampleRate);
    this.line = null;
    this.port.onmessage = ({ data }) => {
      this.line = data.line;
      this.line.onmessage = (event) => this.take(event.data);
    };
  }

  take(message) {
    if (typeof message === "string") this.recall(JSON.parse(message));
    else this.append(message);
  }

  append(message) {
    const [position] = new Float64Array(message, 0, 1);
    if (position !== this.end || this.asked !== this.recalled) return;
    const samples = new Int16Array(message, 8);
    for (let i = 0; i < samples.length; i++) {
      this.ring[(this.end + i) % RING] = samples[i] / 32768;
    }
    this.end += samples.length;
  }

  recall({ type, id, fade }) {
    if (type !== "recall") return;
    this.asked = id;
    this.end = Math.min(this.end, this.place + fade);
    this.fade = this.end - this.place;
    this.fadeEnd = this.end;
    this.settle();
  }

  // Note that a recall has taken effect, once its fade was rendered.
  settle() {
    if (this.asked === this.recalled || this.place < this.end) return;
    this.recalled = this.asked;
    this.fadeEnd = -1;
    this.report();
  }

  report() {
    const clock = this.frame / sampleRate;
    const message = new Float64Array([this.place, clock, Math.round(this.silence), this.recalled]);
    this.line?.postMessage(message.buffer, [message.buffer]);
    this.quanta = 0;
    this.silent = false;
  }

  // The sample at a place, with the fade.
  at(place) {
    if (place < 0 || place >= this.end) return 0;
    const sample = this.ring[place % RING];
    return this.fadeEnd < 0 ? sample : (sample * (this.fadeEnd - place)) / this.fade;
  }

  next() {
    if (!this.filter) return this.at(this.place++);
    const { half, bank, up, down } = this.filter;
    const taps = bank[this.phase];
    let sum = 0;
    for (let k = 0; k < taps.length; k++) sum += taps[k] * this.at(this.place + k - half + 1);
    this.phase += down;
    this.place += Math.floor(this.phase / up);
    this.phase %= up;
    return sum;
  }

  process(_, outputs) {
    const out = outputs[0][0];
    this.frame = currentFrame;
    // Sound after a silence: report first when the sound begins.
    if (this.silent && this.place < this.end) this.report();
    let i = 0;
    while (i < out.length && this.place < this.end) out[i++] = this.next();
    this.place = Math.min(this.place, this.end); // the filter may have stepped over the end
    if (i < out.length) {
      this.silent = true;
      this.silence += ((out.length - i) * RATE) / sampleRate;
      this.phase = 0;
    }
    this.frame = currentFrame + out.length;
    this.quanta++;
    this.settle();
    if (this.quanta >= QUANTA_PER_REPORT) this.report();
    return true;
  }
}

registerProcessor("bargein-player", Player);
