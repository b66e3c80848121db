// A calm load, ten times as much at once, calm again: nothing fails, and the time after is the time before.
// STAGE (10s each), RATE (20 a second when calm), MAX_VUS (400).
import { ask, learn, pick, THRESHOLDS } from "./lib/edge.js";

const RATE = Number(__ENV.RATE || 20);
const STAGE = __ENV.STAGE || "10s";

export const options = {
  scenarios: {
    spike: {
      executor: "ramping-arrival-rate",
      startRate: RATE,
      timeUnit: "1s",
      preAllocatedVUs: Math.min(100, maxVus()),
      maxVUs: maxVus(),
      gracefulStop: "30s",
      stages: [
        { target: RATE, duration: STAGE },
        { target: RATE * 10, duration: "1s" },
        { target: RATE * 10, duration: STAGE },
        { target: RATE, duration: "1s" },
        { target: RATE, duration: STAGE },
      ],
    },
  },
  thresholds: { ...THRESHOLDS, dropped_iterations: ["count==0"], http_req_duration: [`p(99)<${__ENV.P99_MS || 1000}`] },
};

export const setup = learn;

export default function (data) {
  ask(data, pick(["openai", "anthropic"]), "What is the capital of France?");
}

function maxVus() {
  return Number(__ENV.MAX_VUS || 400);
}
