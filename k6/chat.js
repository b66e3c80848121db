// Whole answers from both kinds of client, as fast as they come. DURATION (30s), VUS (16).
import { ask, learn, THRESHOLDS } from "./lib/edge.js";

export const options = {
  scenarios: {
    openai: { executor: "constant-vus", exec: "openai", vus: half(), duration: __ENV.DURATION || "30s", gracefulStop: "10s" },
    anthropic: { executor: "constant-vus", exec: "anthropic", vus: half(), duration: __ENV.DURATION || "30s", gracefulStop: "10s" },
  },
  thresholds: { ...THRESHOLDS, http_req_duration: [`p(99)<${__ENV.P99_MS || 500}`] },
};

export const setup = learn;

export function openai(data) {
  ask(data, "openai", "What is the capital of France?");
}

export function anthropic(data) {
  ask(data, "anthropic", "What is the capital of France?");
}

function half() {
  return Math.max(1, Math.ceil(Number(__ENV.VUS || 16) / 2));
}
