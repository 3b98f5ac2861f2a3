// The browser as microphone and speaker. `new Voice(...)`, `start()` after a click, `stop()`.
//
// Each direction has a worklet, which records or plays, and a worker, which holds the WebSocket.

const RATE = 24000;
// ms between two looks at the latency that the browser estimates.
const LOOK_MS = 1000;
// ms by which an estimate has to change before it is reported.
const NEWS_MS = 2;
const here = (name) => new URL(name, import.meta.url);

export class Voice extends EventTarget {
  // `offer`: an async function that returns { capture, playback }: for each process the addresses
  // { url, protocols } to try in turn, or none if it uses another device.
  constructor(offer) {
    super();
    this.offer = offer;
    this.microphone = "off"; // off, asking, on, waiting, lost, asleep, taken, or refused
    this.speaker = "off";
    // Whether each one's process answers: "", "stalled" (it does not), or "unknown". A process that
    // is stopped leaves its connection open.
    this.doubts = { microphone: "", speaker: "" };
    this.reason = "";
    this.context = null;
    this.player = null; // the node that plays
    this.lines = {};
    this.stream = null;
    this.rate = Number(new URLSearchParams(location.search).get("rate")) || RATE;
    setInterval(() => this.look(), LOOK_MS);
  }

  get running() {
    return this.context !== null;
  }

  async start() {
    await this.stop();
    const offered = await this.offer();
    await this.begin(offered);
    if (offered.capture.length) await this.listen(offered);
    await this.context?.resume();
    this.tell();
  }

  // Open the audio context, and begin to play.
  async begin({ playback }) {
    const context = await open(this.rate);
    this.context = context;
    context.onstatechange = () => this.tell();
    if (!playback.length) return;
    this.player = new AudioWorkletNode(context, "bargein-player", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.player.connect(context.destination);
    this.connect("speaker", this.player, playback);
  }

  async stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    await this.end();
    this.microphone = this.speaker = "off";
    this.tell();
  }

  async end() {
    for (const line of Object.values(this.lines)) line.worker.postMessage({ end: true });
    this.lines = {};
    const context = this.context;
    this.context = this.player = null;
    await context?.close();
  }

  // Ask for the microphone and record it.
  async listen(offered) {
    const { context } = this;
    this.set("microphone", "asking");
    let stream = null;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
      });
    } catch (error) {
      if (this.context === context) this.set("microphone", "refused", error.message);
      return;
    }
    const [track] = stream.getAudioTracks();
    if (this.context !== context) {
      track.stop(); // The person has pressed "Stop talking" instead of answering.
      return;
    }
    this.stream = stream;
    let source = null;
    try {
      source = context.createMediaStreamSource(stream);
    } catch (error) {
      // Some browsers record at the system's own rate only. The worklets convert.
      if (!this.rate) throw error;
      this.rate = 0;
      await this.end();
      await this.begin(offered);
      source = this.context.createMediaStreamSource(stream);
    }
    const recorder = new AudioWorkletNode(this.context, "bargein-recorder", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    source.connect(recorder);
    this.connect("microphone", recorder, offered.capture, track);
    track.onmute = track.onunmute = () => this.look();
    track.onended = () => this.set("microphone", "refused", "the microphone is gone");
  }

  connect(direction, node, addresses, track = null) {
    const worker = new Worker(here("voice-line.js"));
    const channel = new MessageChannel();
    node.port.postMessage({ line: channel.port1 }, [channel.port1]);
    const line = { worker, track, about: this.about(track) };
    this.lines[direction] = line;
    worker.onmessage = ({ data }) => {
      this.set(direction, data.state, data.reason);
      if (data.state === "waiting") this.renew(direction);
    };
    worker.postMessage(
      { begin: { line: channel.port2, addresses, about: line.about } },
      [channel.port2],
    );
  }

  // A process that was started anew listens on another port.
  async renew(direction) {
    const offered = await this.offer().catch(() => null);
    if (!offered) return; // the network is gone: the next attempt asks again
    const addresses = direction === "microphone" ? offered.capture : offered.playback;
    const { worker } = this.lines[direction] ?? {};
    if (addresses.length) worker?.postMessage({ addresses });
  }

  about(track) {
    const context = this.context;
    const seconds = track
      ? (track.getSettings().latency ?? 0.01)
      : context.outputLatency || context.baseLatency || 0;
    return {
      type: "about",
      latency_ms: Math.min(5000, Math.max(0, seconds * 1000)),
      label: track ? track.label.slice(0, 100) : `${context.sampleRate} Hz`,
      muted: Boolean(track?.muted),
    };
  }

  // Report a latency or a mute that has changed.
  look() {
    for (const line of Object.values(this.lines)) {
      const now = this.about(line.track);
      const moved = Math.abs(now.latency_ms - line.about.latency_ms) > NEWS_MS;
      if (!moved && now.muted === line.about.muted) continue;
      line.about = now;
      line.worker.postMessage({ about: now });
    }
  }

  set(direction, state, reason = "") {
    this[direction] = state;
    this.reason = reason;
    this.tell();
  }

  // Note whether the processes answer: { microphone, speaker }.
  doubt(doubts) {
    const before = this.doubts;
    this.doubts = doubts;
    if (before.microphone !== doubts.microphone || before.speaker !== doubts.speaker) this.tell();
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }
}

// Return a context at a rate. 0: the browser's own, and the worklets convert.
async function open(rate) {
  const context = new AudioContext({
    latencyHint: "interactive",
    ...(rate ? { sampleRate: rate } : {}),
  });
  await context.audioWorklet.addModule(here("recorder-worklet.js"));
  await context.audioWorklet.addModule(here("player-worklet.js"));
  return context;
}
