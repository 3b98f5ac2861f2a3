// A worker: the WebSocket between one worklet and its process. The page may be busy with drawing; here
// nothing waits for it.

// ms before each further attempt to connect.
const RETRY_MS = [250, 500, 1000, 2000];
// A network that takes so many bytes later loses sound rather than delays it.
const MOST_BYTES = 48000;
const TAKEN = 4000;
const SILENT = 4002;
const DROP = JSON.stringify({ type: "recall", id: 0, fade: 48 });

let line = null; // to the worklet
let socket = null;
let addresses = []; // { url, protocols }, the best one first
let about = null;
let attempts = 0;
let asleep = false; // the process has hung up because the worklet slept
let ended = false;

function say(state, reason = "") {
  postMessage({ state, reason });
}

function connect() {
  if (ended) return;
  const address = addresses[attempts % addresses.length];
  const opening = new WebSocket(address.url, address.protocols);
  opening.binaryType = "arraybuffer";
  opening.onopen = () => {
    socket = opening;
    attempts = 0;
    opening.send(JSON.stringify(about));
    say("on");
  };
  opening.onmessage = ({ data }) => {
    if (typeof data === "string") line.postMessage(data);
    else line.postMessage(data, [data]);
  };
  opening.onclose = ({ code, reason }) => {
    const was = socket === opening;
    socket = null;
    line.postMessage(DROP);
    if (ended) return;
    if (code === TAKEN) {
      ended = true;
      say("taken", reason);
    } else if (code === SILENT) {
      asleep = true;
      say("asleep", reason);
    } else {
      say(was ? "lost" : "waiting", reason);
      const rounds = Math.floor(attempts / addresses.length);
      // After a loss, begin with the best address again.
      attempts = was ? 0 : attempts + 1;
      const next = attempts % addresses.length > 0;
      setTimeout(connect, next ? 0 : RETRY_MS[Math.min(rounds, RETRY_MS.length - 1)]);
    }
  };
}

function fromWorklet({ data }) {
  if (asleep) {
    asleep = false;
    connect();
  } else if (socket?.readyState === WebSocket.OPEN && socket.bufferedAmount < MOST_BYTES) {
    socket.send(data);
  }
}

onmessage = ({ data }) => {
  if (data.begin) {
    ({ line, addresses, about } = data.begin);
    line.onmessage = fromWorklet;
    connect();
  } else if (data.addresses) {
    addresses = data.addresses;
  } else if (data.about) {
    about = data.about;
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(about));
  } else if (data.end) {
    ended = true;
    socket?.close(1000);
    close();
  }
};
