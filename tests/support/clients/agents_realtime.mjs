// The client @openai/agents-realtime: a person asks for a function, and talks over the answer.
//
// The arguments: the server's URL, and two files with what the person says, as PCM of 24 kHz.
import { readFileSync } from "node:fs";
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";

const [url, question, interruption] = process.argv.slice(2);
const tell = (fields) => console.log(JSON.stringify(fields));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
setTimeout(() => process.exit(1), 20_000);

const horoscope = tool({
  name: "horoscope",
  description: "Return the horoscope of a sign.",
  parameters: z.object({ sign: z.string() }),
  execute: async ({ sign }) => {
    tell({ called: sign });
    return "You will meet a tall dark process.";
  },
});
const agent = new RealtimeAgent({ name: "seer", instructions: "Help.", tools: [horoscope] });
const session = new RealtimeSession(agent, { transport: new OpenAIRealtimeWebSocket({ url }) });

// Sends a recording, twice as fast as real time.
async function speak(file) {
  const pcm = readFileSync(file);
  for (let at = 0; at < pcm.length; at += 1920) {
    session.sendAudio(new Uint8Array(pcm.subarray(at, at + 1920)).buffer);
    await sleep(20);
  }
}

let called = false;
let answered = false;
let speaking;
session.on("error", ({ error }) => tell({ error: JSON.stringify(error) }));
session.on("agent_tool_end", (_context, _agent, _tool, result) => {
  called = true;
  tell({ returned: result });
});
session.on("audio", async () => {
  if (!called || answered) return;
  answered = true;
  await speaking;
  await speak(interruption);
});
session.on("audio_interrupted", () => {
  if (!answered) return; // the question itself
  tell({ interrupted: true });
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0)); // when the emulator has the truncate
});
await session.connect({ apiKey: "any" });
speaking = speak(question);
