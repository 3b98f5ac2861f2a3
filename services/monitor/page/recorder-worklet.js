// The microphone: cuts what the browser hears into blocks of 10 ms at 24 kHz, and sends each one to
// capture with its position and the time of the audio clock. docs/browser.md describes the message.

import { Resampler } from "./resample.js";

const RATE = 24000;
const BLOCK = 240;
const HEADER = 16;

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.line = null;
    this.resampler = sampleRate === RATE ? null : new Resampler(sampleRate, RATE);
    this.position = 0; // of the first sample in the block
    this.begun = -1; // the audio clock at position 0, s
    this.count = 0; // samples in the block
    this.clear();
    this.add = (sample) => this.put(sample);
    this.port.onmessage = ({ data }) => {
      this.line = data.line;
    };
  }

  clear() {
    this.buffer = new ArrayBuffer(HEADER + 2 * BLOCK);
    this.samples = new Int16Array(this.buffer, HEADER);
    this.count = 0;
  }

  put(sample) {
    this.samples[this.count++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
    if (this.count < BLOCK) return;
    const header = new Float64Array(this.buffer, 0, 2);
    header[0] = this.position;
    header[1] = this.begun + this.position / RATE;
    this.line?.postMessage(this.buffer, [this.buffer]);
    this.position += BLOCK;
    this.clear();
  }

  process(inputs) {
    const heard = inputs[0][0];
    // Without a microphone there is no channel: the clock begins anew when it is back.
    if (!heard) {
      this.begun = -1;
      return true;
    }
    if (this.begun < 0) this.begun = currentTime - (this.position + this.count) / RATE;
    if (this.resampler) this.resampler.push(heard, this.add);
    else for (let i = 0; i < heard.length; i++) this.put(heard[i]);
    return true;
  }
}

registerProcessor("bargein-recorder", Recorder);
