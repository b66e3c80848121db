// Streamed answers to both kinds of client; every event is judged. DURATION (30s), VUS (16).
import { askStream, learn, THRESHOLDS } from "./lib/edge.js";

export const options = {
  scenarios: {
    openai: { executor: "constant-vus", exec: "openai", vus: half(), duration: __ENV.DURATION || "30s", gracefulStop: "30s" },
    anthropic: { executor: "constant-vus", exec: "anthropic", vus: half(), duration: __ENV.DURATION || "30s", gracefulStop: "30s" },
  },
  thresholds: { ...THRESHOLDS, stream_first_byte: [`p(99)<${__ENV.FIRST_BYTE_MS || 1000}`] },
};

export const setup = learn;

export function openai(data) {
  askStream(data, "openai", "Tell me a short story.");
}

export function anthropic(data) {
  askStream(data, "anthropic", "Tell me a short story.");
}

function half() {
  return Math.max(1, Math.ceil(Number(__ENV.VUS || 16) / 2));
}
