// A whole playback stage in JavaScript. It follows the rules in docs/bus.md, but its queue has no limit.
//
//   npm install --no-package-lock                     # in examples/
//   bin/start capture echo vad uplink link downlink   # all stages but playback
//   sh examples/locked.sh playback node examples/playback.mjs
//
// It plays into nothing. With a file name, or - for standard output, it writes what it plays there, as
// raw samples (mono, s16le, 24 kHz): node playback.mjs - | aplay -f S16_LE -r 24000

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { decode, encode } from "@msgpack/msgpack";
import { Subscriber, XPublisher } from "zeromq";

const VERSION = 3;
const RATE = 24_000; // samples a second
const FRAME = 480; // samples in one speaker.frame: 20 ms
const FADE = 48; // samples: 2 ms, short enough to be silence and long enough not to click
const HEARD_MS = 100; // how often heard is published while something plays
const REPEAT_MS = 1000; // how often states are repeated
const HOLD_MS = 10_000; // how long a report waits for a consumer
const MAX_AUDIO = 32 * 1024; // bytes
const LAST_GENERATION = 2 ** 62;

// CLOCK_MONOTONIC, ns. A double holds it to the nanosecond for 104 days after the machine has started.
const now = () => Number(process.hrtime.bigint());

/** The queue, the playhead and the generation. All positions are samples from an item's start. */
class Player {
  generation = 0;
  session = 0;
  items = new Map(); // in playing order
  queue = []; // [item, samples]
  refused = new Set(); // ids of responses
  tail = new Int16Array(0); // the fade: the next frame begins with it

  get playing() {
    return this.queue.length > 0 || this.tail.length > 0;
  }

  /** Queue a chunk. Return the items that were cut, if the chunk is newer than all before it. */
  audio(m, samples) {
    let cut = null;
    if (m.generation > LAST_GENERATION) return cut;
    if (m.generation > this.generation) cut = this.flush(m.generation, [], [], m.response_id);
    const stale = m.generation < this.generation || this.refused.has(m.response_id);
    if (stale && !m.out_of_band) return cut;
    const item = this.item(m.item_id, m.content_index, m.response_id, m.out_of_band ?? false);
    if (item.cut) return cut;
    if (!item.out_of_band && m.generation > item.generation) {
      // a restarted downlink goes on with the item, and may not know how much of it has come
      item.shift = Math.max(0, item.received - m.start);
      if (item.received) item.sure = Math.min(item.sure, item.received);
    }
    item.generation = m.generation;
    const start = m.start + item.shift;
    if (start > item.received) item.sure = Math.min(item.sure, item.received); // a gap
    const fresh = samples.subarray(Math.max(0, item.received - start));
    if (fresh.length) this.queue.push([item, fresh]);
    item.received = Math.max(item.received, start + samples.length);
    item.done ||= m.last ?? false;
    this.session = m.session;
    return cut;
  }

  /** Fall silent. Return the items that were not heard to their end; null for an old flush. */
  flush(generation, received, interrupted, spared = "") {
    if (generation <= this.generation || generation > LAST_GENERATION) return null;
    this.generation = generation;
    for (const r of received) {
      const item = this.item(r.item_id, r.content_index, "", false);
      item.received = Math.max(item.received, r.received);
      item.done ||= r.done;
    }
    for (const id of interrupted) this.refused.add(id);
    const survives = (item) => item.out_of_band || (spared && item.response_id === spared);
    const first = this.queue[0]?.[0];
    if (first && !survives(first) && !this.tail.length) this.tail = this.fade(first);
    const cut = [];
    for (const item of this.items.values()) {
      if (survives(item) || item.cut) continue;
      if (item.response_id) this.refused.add(item.response_id);
      if (!item.done || item.sure < Infinity || item.heard < item.received) cut.push(report(item));
      item.cut = true;
    }
    this.queue = this.queue.filter(([item]) => !item.cut);
    return cut;
  }

  /** Take the next samples of an item, falling to silence. They are played, so they are heard. */
  fade(item) {
    const samples = this.take(FADE, item);
    return samples.map((sample, n) => (sample * (samples.length - n)) / samples.length);
  }

  /** Take samples from the queue (only of one item, if it is given), and advance the playhead. */
  take(count, only = null) {
    const out = new Int16Array(count);
    let at = 0;
    while (this.queue.length && at < count && (!only || this.queue[0][0] === only)) {
      const [item, samples] = this.queue[0];
      const part = samples.subarray(0, count - at);
      out.set(part, at);
      at += part.length;
      item.heard += part.length;
      if (part.length === samples.length) this.queue.shift();
      else this.queue[0][1] = samples.subarray(part.length);
    }
    return out.subarray(0, at);
  }

  /** Return the next frame for the speaker. */
  render() {
    const out = new Int16Array(FRAME);
    out.set(this.tail);
    out.set(this.take(FRAME - this.tail.length), this.tail.length);
    this.tail = new Int16Array(0);
    return out;
  }

  item(item_id, content_index, response_id, out_of_band) {
    const key = JSON.stringify([item_id, content_index]);
    if (!this.items.has(key)) {
      const counts = { heard: 0, received: 0, sure: Infinity, shift: 0, generation: 0 };
      const ids = { item_id, content_index, response_id, out_of_band };
      this.items.set(key, { ...ids, ...counts, done: false, cut: false });
    }
    return this.items.get(key);
  }
}

/** Return an item as heard and report.flush have it. */
function report({ item_id, content_index, heard, sure, received, done, cut }) {
  const broken = sure < Infinity;
  return { item_id, content_index, heard: Math.min(heard, sure), received, done, broken, cut };
}

/** Sends this stage's messages: states to each new subscriber, reports once a consumer is there. */
class Publisher {
  epoch = Math.floor(Date.now() * 1000); // µs since 1970
  seq = {};
  states = new Map();
  held = []; // [when, frames]
  consumers = 0;
  waiting = []; // frames that are not sent yet

  constructor(socket) {
    this.socket = socket;
    this.welcome();
  }

  publish(topic, own, payload = Buffer.alloc(0)) {
    const seq = this.seq[topic] ?? 0;
    this.seq[topic] = seq + 1;
    const header = Buffer.from(encode({ v: VERSION, seq, epoch: this.epoch, t: now(), ...own }));
    this.send([topic, header, payload]);
    if (topic !== "report.flush") return;
    const frames = [`!${topic}`, header, payload];
    if (this.consumers) this.send(frames);
    else this.held = [...this.held.filter(([when]) => Date.now() - when < HOLD_MS), [Date.now(), frames]];
  }

  state(topic, own) {
    this.states.set(topic, own);
    this.publish(topic, own);
  }

  /** Send frames after those that are being sent: a socket takes one message at a time. */
  async send(frames) {
    if (this.waiting.push(frames) > 1) return;
    while (this.waiting.length) {
      await this.socket.send(this.waiting[0]);
      this.waiting.shift();
    }
  }

  async welcome() {
    for await (const [request] of this.socket) {
      const begins = request[0] === 1;
      const name = request.subarray(1).toString();
      if (name === "!report.flush") this.consumers += begins ? 1 : -1;
      if (!begins) continue;
      for (const [topic, own] of this.states) if (topic.startsWith(name)) this.publish(topic, own);
      if (name !== "!report.flush") continue;
      for (const [when, frames] of this.held.splice(0))
        if (Date.now() - when < HOLD_MS) this.send(frames);
    }
  }
}

const directory =
  process.env.BARGEIN_BUS__DIRECTORY ||
  (process.env.XDG_RUNTIME_DIR
    ? path.join(process.env.XDG_RUNTIME_DIR, "bargein")
    : path.join(os.tmpdir(), `bargein-${process.getuid()}`));
const address = (name) => `ipc://${path.join(directory, `${name}.ipc`)}`;

// "allSubsUnsubs" is XPUB_VERBOSER: the socket reports every reader that comes or leaves.
const socket = new XPublisher({ verbosity: "allSubsUnsubs", linger: 0 });
await socket.bind(address("playback"));
const out = new Publisher(socket);
const player = new Player();
let newest = 0; // downlink's generation, as reply.state has it
let wasPlaying = false;
let heardAt = 0; // when heard was last published, ms

function publishHeard() {
  heardAt = Date.now();
  wasPlaying = player.playing;
  const { generation, session, playing } = player;
  const items = [...player.items.values()].slice(-16).map(report);
  out.state("heard", { generation, session, playing, items });
}

function publishReport(cut, m, flush, received_ns) {
  publishHeard();
  out.publish("report.flush", {
    generation: player.generation,
    session: m.session,
    cause: flush ? m.cause : "lost flush",
    event_ns: flush ? m.event_ns : 0,
    flush_ns: flush ? m.t : 0,
    received_ns,
    silent_ns: now() + Math.round((player.tail.length * 1e9) / RATE),
    latency_ns: 0,
    items: cut.slice(-64),
  });
}

const isCount = (value) => Number.isInteger(value) && value >= 0;
const isText = (value) => typeof value === "string";

/** Return a message's fields. Throws for a message that does not fit its topic. */
function read(frames, counts, texts, audio) {
  if (frames.length !== 3) throw new Error(`${frames.length} frames instead of 3`);
  const m = decode(frames[1]);
  if (m.v !== VERSION) throw new Error(`bus version ${m.v}`);
  for (const name of ["seq", "epoch", "t", ...counts])
    if (!isCount(m[name])) throw new Error(`${name} is no count`);
  for (const name of texts) if (!isText(m[name])) throw new Error(`${name} is no text`);
  if (frames[2].length > (audio ? MAX_AUDIO : 0) || frames[2].length % 2) throw new Error("payload");
  return m;
}

const handlers = {
  "!flush"(frames, at) {
    const m = read(frames, ["generation", "session", "event_ns"], ["cause"], false);
    const cut = player.flush(m.generation, m.received, m.interrupted);
    if (cut) publishReport(cut, m, true, at);
  },
  "reply.state"(frames) {
    newest = read(frames, ["generation", "session"], [], false).generation;
  },
  "!reply.audio"(frames, at) {
    const counts = ["generation", "session", "content_index", "start"];
    const m = read(frames, counts, ["response_id", "item_id"], true);
    if (m.generation < newest && !m.out_of_band) return;
    const bytes = Uint8Array.from(frames[2]); // a copy, which begins at an even address
    const cut = player.audio(m, new Int16Array(bytes.buffer));
    if (cut?.length) publishReport(cut, m, false, at);
    else if (m.last && !player.playing) publishHeard(); // the item was played out before its end was known
  },
};

/** Connect to a publisher. With receiveTimeout 0, receive() fails at once if no message waits. */
function connect(name, topics) {
  const socket = new Subscriber({ reconnectInterval: 20, linger: 0, receiveTimeout: 0 });
  socket.subscribe(...topics);
  socket.connect(address(name));
  return socket;
}

/** Handle one message, if one waits. Drop a message that cannot be read. */
async function take(socket) {
  let frames;
  try {
    frames = await socket.receive();
  } catch (error) {
    if (error.code === "EAGAIN") return false;
    throw error;
  }
  try {
    handlers[frames[0].toString()]?.(frames, now());
  } catch (error) {
    console.error(`playback: message refused: ${error.message}`);
  }
  return true;
}

const flushes = connect("flush", ["!flush"]);
const replies = connect("downlink", ["reply.state", "!reply.audio"]);

/** Read for ever. Look at flush before each other message: a flush must not wait behind audio. */
async function listen() {
  for (;;) {
    const took = (await take(flushes)) || (await take(replies));
    // Let the timers run between two messages: a flood of messages must not stop the sound.
    await new Promise((resolve) => (took ? setImmediate(resolve) : setTimeout(resolve, 2)));
  }
}

listen();

const file = process.argv[2];
const speaker = file === "-" ? process.stdout : file ? fs.createWriteStream(file) : null;
const stream = out.epoch;
const began = now();
let position = 0;

/** Play the frames that are due: one each 20 ms of the machine's clock. */
function play() {
  while (began + ((position + FRAME) * 1e9) / RATE < now()) {
    const samples = Buffer.from(player.render().buffer);
    const played_ns = began + Math.round((position * 1e9) / RATE);
    out.publish("speaker.frame", { stream, position, played_ns }, samples);
    speaker?.write(samples);
    position += FRAME;
  }
  const since = Date.now() - heardAt;
  if (player.playing !== wasPlaying || since >= (player.playing ? HEARD_MS : REPEAT_MS))
    publishHeard();
}

function beat() {
  const state = player.playing ? "playing" : "waiting for reply.audio";
  out.state("playback.health", { pid: process.pid, ok: true, state, counters: {} });
}

publishHeard();
beat();
setInterval(beat, REPEAT_MS);
setInterval(play, 5);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
// bargein restart sends SIGUSR1, on which Node opens its debugger unless the program handles it.
process.on("SIGUSR1", () => process.exit(75));
