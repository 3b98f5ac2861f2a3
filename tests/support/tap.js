// A worklet for the tests: keeps every sample that a node renders, and returns them on demand.
class Tap extends AudioWorkletProcessor {
  constructor() {
    super();
    this.blocks = [];
    this.port.onmessage = () => this.port.postMessage(this.blocks);
  }

  process(inputs) {
    if (inputs[0][0]) this.blocks.push(Float32Array.from(inputs[0][0]));
    return true;
  }
}
registerProcessor("tap", Tap);
