// Steady load for long, whole and streamed, and the edge's memory at its start and end, read from its metrics.
// DURATION (30m), RATE (30 a second), MAX_VUS (200), ADMIN_URL (http://127.0.0.1:9090), GROWTH_MB (32).
import http from "k6/http";
import { check, fail } from "k6";
import { ask, askStream, learn, pick, THRESHOLDS } from "./lib/edge.js";

const ADMIN_URL = (__ENV.ADMIN_URL || "http://127.0.0.1:9090").replace(/\/$/, "");
const GROWTH_MB = Number(__ENV.GROWTH_MB || 32);

export const options = {
  scenarios: {
    soak: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 30),
      timeUnit: "1s",
      duration: __ENV.DURATION || "30m",
      preAllocatedVUs: Math.min(50, maxVus()),
      maxVUs: maxVus(),
      gracefulStop: "30s",
    },
  },
  thresholds: { ...THRESHOLDS, dropped_iterations: ["count==0"], "http_req_duration{stream:false}": [`p(99)<${__ENV.P99_MS || 500}`] },
};

export function setup() {
  const data = learn();
  // Buffers and pools fill with the first requests: memory counts from a warm edge.
  for (let n = 0; n < 200; n += 1) (n % 2 ? ask : askStream)(data, pick(["openai", "anthropic"]), "Warm up.");
  return { ...data, before: residentMb() };
}

export default function (data) {
  const put = Math.random() < 0.5 ? askStream : ask;
  put(data, pick(["openai", "anthropic"]), "What is the capital of France?");
}

export function teardown(data) {
  const after = residentMb();
  console.log(`resident memory: ${data.before.toFixed(1)} MB before, ${after.toFixed(1)} MB after`);
  check(after, { "memory did not grow": (mb) => mb - data.before <= GROWTH_MB });
}

function residentMb() {
  const response = http.get(`${ADMIN_URL}/metrics`);
  const line = String(response.body).match(/^process_resident_memory_bytes ([0-9.e+]+)$/m);
  if (response.status !== 200 || line === null) fail(`${ADMIN_URL}/metrics does not tell process_resident_memory_bytes`);
  return Number(line[1]) / 1e6;
}

function maxVus() {
  return Number(__ENV.MAX_VUS || 200);
}
