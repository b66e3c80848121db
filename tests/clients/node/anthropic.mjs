// The official `@anthropic-ai/sdk` package.
import Anthropic from '@anthropic-ai/sdk';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';

import { EDGE, failure, given, KEY, seen } from './seen.mjs';

const sdk = new Anthropic({ baseURL: EDGE, apiKey: KEY, maxRetries: 0, timeout: 30_000 });
const Person = z.object({ name: z.string(), age: z.number().int() });
const STOPS = { end_turn: 'end', max_tokens: 'length', tool_use: 'call', refusal: 'filter', stop_sequence: 'sequence' };

export const anthropic = {
  begin(ask) {
    const part = ({ kind, url, data }) => {
      if (kind === 'image') return { type: 'image', source: url ? { type: 'url', url } : { type: 'base64', media_type: 'image/png', data } };
      return { type: 'document', source: { type: 'base64', media_type: 'application/pdf', data } };
    };
    const content = ask.parts ? [{ type: 'text', text: ask.text }, ...ask.parts.map(part)] : ask.text;
    return [...(ask.before ?? []).map(([role, text]) => ({ role, content: text })), { role: 'user', content }];
  },

  settings(ask) {
    const modes = { auto: { type: 'auto' }, required: { type: 'any' }, none: { type: 'none' } };
    let choice = ask.choice && (modes[ask.choice] ?? { type: 'tool', name: ask.choice });
    if (ask.parallel === false && ask.choice !== 'none') choice = { ...(choice ?? modes.auto), disable_parallel_tool_use: true };
    const output = { effort: ask.think ? 'high' : undefined, format: ask.schema ? zodOutputFormat(Person) : undefined };
    return given({
      max_tokens: ask.limit ?? 16_000,
      tools: ask.declared.length ? ask.declared.map(({ name, description, schema }) => ({ name, description, input_schema: schema })) : undefined,
      tool_choice: choice,
      stop_sequences: ask.stop,
      system: ask.system?.map((text) => ({ type: 'text', text })),
      thinking: ask.think ? { type: 'adaptive', display: 'summarized' } : undefined,
      output_config: ask.think || ask.schema ? given(output) : undefined,
    });
  },

  async send(ask, history) {
    const body = { model: ask.model, messages: history, ...this.settings(ask) };
    let words = '';
    let message;
    try {
      if (ask.stream) {
        const stream = sdk.messages.stream(body);
        for await (const event of stream) {
          if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') words += event.delta.text;
        }
        message = await stream.finalMessage();
      } else if (ask.schema) {
        message = await sdk.messages.parse(body);
      } else {
        message = await sdk.messages.create(body);
      }
    } catch (error) {
      return [failure(Anthropic, error, words), null];
    }
    if (message.stop_reason === null) return [seen({ text: words }), null];
    const all = (type, key) => message.content.filter((block) => block.type === type).map((block) => block[key]);
    const { usage } = message;
    const [read, written] = [usage.cache_read_input_tokens ?? 0, usage.cache_creation_input_tokens ?? 0];
    return [
      seen({
        text: all('text', 'text').join(''),
        thinking: all('thinking', 'thinking').join(''),
        refusal: message.stop_details?.explanation ?? '',
        calls: message.content.filter(({ type }) => type === 'tool_use').map(({ id, name, input }) => ({ id, name, arguments: input })),
        stop: STOPS[message.stop_reason],
        usage: {
          input: usage.input_tokens + read + written,
          read,
          written,
          output: usage.output_tokens,
          thought: usage.output_tokens_details?.thinking_tokens ?? 0,
        },
        parsed: ask.schema ? message.parsed_output : null,
        id: message.id,
        model: message.model,
      }),
      message.content,
    ];
  },

  reply(history, turn, results) {
    const content = results.toReversed().map(([call, text]) => ({ type: 'tool_result', tool_use_id: call.id, content: text }));
    history.push({ role: 'assistant', content: turn }, { role: 'user', content });
  },
};
