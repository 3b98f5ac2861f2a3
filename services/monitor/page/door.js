// The connection to the door. `new Door(take)`: `take` gets each message; see docs/door.md.

import { token } from "./token.js";

// ms before each further attempt to connect.
const RETRY_MS = [250, 500, 1000, 2000, 5000];
// The door sends the health of the stages once a second. If it sends nothing for so many ms, its
// process is stopped or the network is gone, although the connection is still open.
const SILENT_MS = 3000;

export class Door {
  constructor(take) {
    this.take = take;
    this.number = 0;
    this.waiting = new Map();
    this.attempts = 0;
    this.heardAt = 0;
    this.silent = false;
    this.connect();
    setInterval(() => this.listen(), SILENT_MS / 4);
  }

  connect() {
    const url = `${location.origin.replace(/^http/, "ws")}/events?levels=1`;
    const socket = new WebSocket(url, ["bargein", `token.${token()}`]);
    this.socket = socket;
    socket.onopen = () => {
      this.heardAt = performance.now();
    };
    let heard = false;
    socket.onmessage = ({ data }) => {
      this.attempts = 0;
      heard = true;
      this.heardAt = performance.now();
      // A new connection begins with a snapshot.
      if (this.silent) return socket.close();
      const told = JSON.parse(data);
      if (told.type === "outcome") {
        this.waiting.get(told.number)?.(told);
        this.waiting.delete(told.number);
      } else this.take(told);
    };
    socket.onclose = () => {
      this.silent = false;
      this.lose();
      if (!heard) this.explain();
      const wait = RETRY_MS[Math.min(this.attempts++, RETRY_MS.length - 1)];
      setTimeout(() => this.connect(), wait);
    };
  }

  // Notice a door that has fallen silent.
  listen() {
    if (this.silent || this.socket.readyState !== WebSocket.OPEN) return;
    if (performance.now() - this.heardAt < SILENT_MS) return;
    this.silent = true;
    this.lose();
  }

  lose() {
    for (const answer of this.waiting.values()) answer(away);
    this.waiting.clear();
    this.take({ type: "away" });
  }

  // A WebSocket does not say why it was refused.
  async explain() {
    const headers = { Authorization: `Bearer ${token()}` };
    const answer = await fetch("/voice", { headers }).catch(() => null);
    const refused = answer?.status === 401 || answer?.status === 403;
    if (refused) this.take({ type: "away", refused });
  }

  // Send a command, and return its outcome.
  send(command) {
    if (this.silent || this.socket.readyState !== WebSocket.OPEN) return Promise.resolve(away);
    const number = ++this.number;
    this.socket.send(JSON.stringify({ ...command, number }));
    return new Promise((resolve) => this.waiting.set(number, resolve));
  }
}

const away = { done: false, outcome: "Bargein does not answer: is it running? Open its link anew." };
