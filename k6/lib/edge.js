// The edge under load: where it is, which models it has, how it is asked, and what a right answer looks like.
//
// Environment: BASE_URL (http://127.0.0.1:8080), API_KEY (sent as both clients would; empty for an open edge),
// MODELS (comma-separated; what GET /v1/models lists), MAX_TOKENS (32), TEXT (same: every answer must have the same text,
// as the simulated provider gives it; any: only that there is some).
import http from "k6/http";
import { check, fail } from "k6";
import { Counter, Trend } from "k6/metrics";

export const BASE_URL = (__ENV.BASE_URL || "http://127.0.0.1:8080").replace(/\/$/, "");
const API_KEY = __ENV.API_KEY || "";
const MAX_TOKENS = Number(__ENV.MAX_TOKENS || 32);

/** Answers that were not exactly right; any one fails the run. */
export const wrong = new Counter("wrong_answers");
/** Time to the first byte of a streamed answer. */
export const firstByte = new Trend("stream_first_byte", true);

/** Thresholds that every scenario shares. */
export const THRESHOLDS = {
  checks: ["rate==1"],
  http_req_failed: ["rate==0"],
  wrong_answers: ["count==0"],
};

const JSON_TYPE = { "content-type": "application/json" };

/** The two client formats: how a request is sent, how an answer and a stream are read and judged. */
export const FORMATS = {
  openai: {
    path: "/v1/chat/completions",
    headers: API_KEY ? { ...JSON_TYPE, authorization: `Bearer ${API_KEY}` } : JSON_TYPE,
    body: (model, text, stream) => ({
      model,
      stream,
      max_tokens: MAX_TOKENS,
      ...(stream ? { stream_options: { include_usage: true } } : {}),
      messages: [
        { role: "system", content: "You answer briefly." },
        { role: "user", content: text },
      ],
    }),
    answer: (body) => ({
      text: body.choices[0].message.content,
      end: body.choices[0].finish_reason,
      tokens: body.usage.completion_tokens,
      shape: body.object === "chat.completion" && body.usage.total_tokens === body.usage.prompt_tokens + body.usage.completion_tokens,
    }),
    stream: readOpenaiStream,
    ends: ["stop", "length"],
  },
  anthropic: {
    path: "/v1/messages",
    headers: {
      ...JSON_TYPE,
      "anthropic-version": "2023-06-01",
      ...(API_KEY ? { "x-api-key": API_KEY } : {}),
    },
    body: (model, text, stream) => ({
      model,
      stream,
      max_tokens: MAX_TOKENS,
      system: "You answer briefly.",
      messages: [{ role: "user", content: text }],
    }),
    answer: (body) => ({
      text: body.content.map((block) => block.text || "").join(""),
      end: body.stop_reason,
      tokens: body.usage.output_tokens,
      shape: body.type === "message" && body.role === "assistant" && body.usage.input_tokens > 0,
    }),
    stream: readAnthropicStream,
    ends: ["end_turn", "max_tokens"],
  },
};

/**
 * For `setup`: the models to ask for, and the text that every answer must have: learned from every model in every format,
 * whole and streamed, which must agree. Fails when the edge is not there or an answer is wrong.
 */
export function learn() {
  const data = { models: models(), text: "" };
  for (const model of data.models) {
    for (const format of Object.keys(FORMATS)) {
      for (const put of [ask, askStream]) {
        const text = put(data, format, "Hello.", model);
        if (text === undefined) fail(`${format} ${model}: the first answer is wrong, see above`);
        if (__ENV.TEXT !== "any") data.text = text;
      }
    }
  }
  return data;
}

/** One question that is asked whole and judged whole; returns the text of a right answer. */
export function ask(data, format, question, model = pick(data.models)) {
  const response = post(format, model, question, false);
  return judge(data, format, response, "application/json", () => FORMATS[format].answer(response.json()));
}

/** The same, streamed. k6 hands a stream over at its end; every event of it is judged. */
export function askStream(data, format, question, model = pick(data.models)) {
  const response = post(format, model, question, true);
  firstByte.add(response.timings.waiting, { format });
  return judge(data, format, response, "text/event-stream", () => FORMATS[format].stream(events(response.body)));
}

/** A name at random. */
export function pick(names) {
  return names[Math.floor(Math.random() * names.length)];
}

function models() {
  if (__ENV.MODELS) return __ENV.MODELS.split(",");
  const response = http.get(`${BASE_URL}/v1/models`, { headers: FORMATS.openai.headers });
  if (response.status !== 200) fail(`${BASE_URL}/v1/models answered ${response.status} ${response.error}: is the edge running?`);
  const names = response.json("data").map((model) => model.id).filter((name) => !name.includes("*"));
  if (names.length === 0) fail("the edge lists no model; name one with MODELS=…");
  return names;
}

function post(format, model, text, stream) {
  const { path, headers, body } = FORMATS[format];
  return http.post(BASE_URL + path, JSON.stringify(body(model, text, stream)), {
    headers,
    tags: { name: path, format, stream: String(stream) },
    timeout: "60s",
  });
}

let shown = 0;

function judge(data, format, response, type, read) {
  let said = {};
  let problem = "";
  try {
    said = read();
  } catch (error) {
    problem = String(error);
  }
  const verdicts = {
    "status is 200": response.status === 200,
    "content type is right": (response.headers["Content-Type"] || "").startsWith(type),
    "answer can be read": problem === "",
    "answer has its shape": said.shape === true,
    "answer has its text": typeof said.text === "string" && (data.text === "" ? said.text.length > 0 : said.text === data.text),
    "answer ended by rule": FORMATS[format].ends.includes(said.end),
    "usage is there": said.tokens > 0,
    "request id is there": (response.headers["X-Request-Id"] || "").length > 0,
  };
  const right = check(verdicts, Object.fromEntries(Object.keys(verdicts).map((name) => [name, (all) => all[name]])));
  if (right) return said.text;
  wrong.add(1, { format });
  if (shown < 3) {
    shown += 1;
    const faults = Object.keys(verdicts).filter((name) => !verdicts[name]);
    console.error(`not so: ${faults}. ${format} ${response.status} ${problem} ${response.error} ${String(response.body).slice(0, 300)}`);
  }
  return undefined;
}

/** The events of a stream: name and data. Throws on what is no event stream. */
function events(body) {
  if (!body.endsWith("\n\n")) throw new Error("the stream does not end behind an event");
  return body
    .split("\n\n")
    .map((block) => block.split("\n").filter((line) => line !== "" && !line.startsWith(":")))
    .filter((lines) => lines.length > 0)
    .map((lines) => {
      const event = { name: "", data: "" };
      for (const line of lines) {
        if (line.startsWith("data:")) event.data += line.slice(5).trim();
        else if (line.startsWith("event:")) event.name = line.slice(6).trim();
        else throw new Error(`no line of an event: ${line}`);
      }
      return event;
    });
}

function readOpenaiStream(all) {
  const last = all.pop();
  if (last === undefined || last.data !== "[DONE]") throw new Error("the stream does not end with [DONE]");
  const said = { text: "", end: "", tokens: 0, shape: true };
  let id = "";
  for (const { data } of all) {
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Error(`error event: ${data}`);
    id = id || chunk.id;
    said.shape = said.shape && chunk.object === "chat.completion.chunk" && chunk.id === id && said.tokens === 0;
    if (chunk.usage) said.tokens = chunk.usage.completion_tokens;
    for (const choice of chunk.choices) {
      if (said.end !== "") throw new Error("a choice goes on behind its end");
      said.text += choice.delta.content || "";
      said.end = choice.finish_reason || "";
    }
  }
  return said;
}

function readAnthropicStream(all) {
  const said = { text: "", end: "", tokens: 0, shape: true };
  const order = [];
  let open = -1;
  for (const { name, data } of all) {
    const event = JSON.parse(data);
    if (event.type !== name) throw new Error(`event ${name} carries ${event.type}`);
    if (name === "error") throw new Error(`error event: ${data}`);
    if (name === "content_block_start") {
      if (open !== -1) throw new Error("a block begins inside another");
      open = event.index;
    } else if (name === "content_block_delta") {
      if (event.index !== open) throw new Error("a delta for a block that is not open");
      said.text += event.delta.text || "";
    } else if (name === "content_block_stop") {
      if (event.index !== open) throw new Error("a block ends that is not open");
      open = -1;
    } else if (name === "message_delta") {
      said.end = event.delta.stop_reason;
      said.tokens = event.usage.output_tokens;
    }
    if (name !== "ping") order.push(name);
  }
  said.shape =
    open === -1 && order[0] === "message_start" && order[order.length - 2] === "message_delta" && order[order.length - 1] === "message_stop";
  return said;
}
