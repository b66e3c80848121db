// What a day looks like: whole and streamed, short and long, both kinds of client, at a set rate. The rate is an open
// loop: a slow edge gets no fewer requests. DURATION (1m), RATE (50 a second), MAX_VUS (200).
import { ask, askStream, learn, pick, THRESHOLDS } from "./lib/edge.js";

export const options = {
  scenarios: {
    mixed: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 50),
      timeUnit: "1s",
      duration: __ENV.DURATION || "1m",
      preAllocatedVUs: Math.min(50, maxVus()),
      maxVUs: maxVus(),
      gracefulStop: "30s",
    },
  },
  thresholds: {
    ...THRESHOLDS,
    dropped_iterations: ["count==0"],
    "http_req_duration{stream:false}": [`p(99)<${__ENV.P99_MS || 500}`],
    stream_first_byte: [`p(99)<${__ENV.FIRST_BYTE_MS || 1000}`],
  },
};

export const setup = learn;

const LONG = "The quick brown fox \"jumps\" over the lazy dog.\n".repeat(700);

export default function (data) {
  const format = pick(["openai", "anthropic"]);
  const text = Math.random() < 0.1 ? LONG : "What is the capital of France?";
  const put = Math.random() < 0.6 ? askStream : ask;
  put(data, format, text);
}

function maxVus() {
  return Number(__ENV.MAX_VUS || 200);
}
