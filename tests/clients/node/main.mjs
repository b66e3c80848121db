// Drives the JavaScript SDKs for tests/clients: a request a line on standard input, an answer a line on standard output.
//
//   {"client": "openai-node chat", "ask": {…}, "tools": {name: [description, schema]}}  →  {"seen": [{…}, …]}
//
// `ask` and `seen` are described in ../clients.py.
import { createInterface } from 'node:readline';

import { anthropic } from './anthropic.mjs';
import { chat, responses } from './openai.mjs';
import { vercel } from './vercel.mjs';

const CLIENTS = {
  'openai-node chat': chat,
  'openai-node responses': responses,
  'anthropic-node': anthropic,
  'ai chat': vercel('chat'),
  'ai responses': vercel('responses'),
  'ai anthropic': vercel('messages'),
  'ai google': vercel('gemini'),
};

const resultOf = (name, { city }) => (name === 'weather' ? `sun in ${city}` : 'noon');

async function converse({ client, ask, tools }) {
  const adapter = CLIENTS[client];
  const declared = (ask.tools ?? []).map((name) => ({ name, description: tools[name][0], schema: tools[name][1] }));
  const history = adapter.begin(ask);
  const all = [];
  for (let number = 0; number <= (ask.rounds ?? 0); number += 1) {
    const model = number > 0 && ask.to ? ask.to : ask.model;
    const [seen, turn] = await adapter.send({ ...ask, model, declared }, history);
    all.push(seen);
    if (seen.raised || seen.calls.length === 0) break;
    adapter.reply(history, turn, seen.calls.map((call) => [call, resultOf(call.name, call.arguments)]));
  }
  return all;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { seen: await converse(JSON.parse(line)) };
  } catch (error) {
    answer = { broken: `${error.stack ?? error}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
