// The official `openai` package: Chat Completions and Responses.
import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import { check, EDGE, failure, given, KEY, raised, seen } from './seen.mjs';

const sdk = new OpenAI({ baseURL: `${EDGE}/v1`, apiKey: KEY, maxRetries: 0, timeout: 30_000 });
const Person = z.object({ name: z.string(), age: z.number().int() });
const MODES = new Set(['auto', 'required', 'none', undefined]);
const STOPS = { stop: 'end', length: 'length', tool_calls: 'call', content_filter: 'filter' };

const image = (part) => part.url ?? `data:image/png;base64,${part.data}`;
const pdf = (part) => `data:application/pdf;base64,${part.data}`;

export const chat = {
  begin(ask) {
    const part = (one) =>
      one.kind === 'image'
        ? { type: 'image_url', image_url: { url: image(one) } }
        : { type: 'file', file: { filename: 'a.pdf', file_data: pdf(one) } };
    const content = ask.parts ? [{ type: 'text', text: ask.text }, ...ask.parts.map(part)] : ask.text;
    return [
      ...(ask.system ?? []).map((text) => ({ role: 'system', content: text })),
      ...(ask.before ?? []).map(([role, text]) => ({ role, content: text })),
      { role: 'user', content },
    ];
  },

  async send(ask, history) {
    const body = given({
      model: ask.model,
      messages: history,
      tools: ask.declared.length
        ? ask.declared.map(({ name, description, schema }) => ({ type: 'function', function: { name, description, parameters: schema } }))
        : undefined,
      tool_choice: MODES.has(ask.choice) ? ask.choice : { type: 'function', function: { name: ask.choice } },
      parallel_tool_calls: ask.parallel,
      stop: ask.stop,
      max_completion_tokens: ask.limit,
      temperature: ask.temperature,
      reasoning_effort: ask.think ? 'high' : undefined,
      response_format: ask.schema ? zodResponseFormat(Person, 'person') : undefined,
    });
    let words = '';
    let completion;
    try {
      if (ask.stream) {
        const stream = sdk.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
        // Of fields that it does not know the accumulator keeps the last piece; who wants them adds them up.
        let [thinking, details] = ['', []];
        for await (const chunk of stream) {
          const delta = chunk.choices[0]?.delta ?? {};
          words += delta.content ?? '';
          thinking += delta.reasoning_content ?? '';
          details.push(...(delta.reasoning_details ?? []));
        }
        completion = await stream.finalChatCompletion();
        Object.assign(completion.choices[0].message, { reasoning_content: thinking || undefined, reasoning_details: details.length ? details : undefined });
      } else if (ask.schema) {
        completion = await sdk.chat.completions.parse(body);
      } else {
        completion = await sdk.chat.completions.create(body);
      }
    } catch (error) {
      return [failure(OpenAI, error, words), null];
    }
    check(completion.choices.length === 1, 'not one choice');
    const { message, finish_reason: reason } = completion.choices[0];
    const { usage } = completion;
    return [
      seen({
        text: message.content ?? '',
        thinking: message.reasoning_content ?? '',
        refusal: message.refusal ?? '',
        calls: (message.tool_calls ?? []).map(({ id, function: { name, arguments: words } }) => ({ id, name, arguments: JSON.parse(words) })),
        stop: STOPS[reason],
        usage: usage && {
          input: usage.prompt_tokens,
          read: usage.prompt_tokens_details.cached_tokens,
          written: usage.prompt_tokens_details.cache_write_tokens ?? 0,
          output: usage.completion_tokens,
          thought: usage.completion_tokens_details.reasoning_tokens,
        },
        parsed: ask.schema ? message.parsed : null,
        id: completion.id,
        model: completion.model,
      }),
      message,
    ];
  },

  // As an application does that knows OpenRouter's fields.
  reply(history, turn, results) {
    const calls = turn.tool_calls.map(({ id, function: { name, arguments: words } }) => ({ id, type: 'function', function: { name, arguments: words } }));
    const { reasoning_content, reasoning_details } = turn;
    history.push({ role: 'assistant', content: turn.content ?? null, tool_calls: calls, ...given({ reasoning_content, reasoning_details }) });
    for (const [call, text] of results.toReversed()) history.push({ role: 'tool', tool_call_id: call.id, content: text });
  },
};

export const responses = {
  begin(ask) {
    const part = (one) =>
      one.kind === 'image'
        ? { type: 'input_image', detail: 'auto', image_url: image(one) }
        : { type: 'input_file', filename: 'a.pdf', file_data: pdf(one) };
    const content = ask.parts ? [{ type: 'input_text', text: ask.text }, ...ask.parts.map(part)] : ask.text;
    return [
      ...(ask.system ?? []).slice(1).map((text) => ({ role: 'developer', content: text })),
      ...(ask.before ?? []).map(([role, text]) => ({ role, content: text })),
      { role: 'user', content },
    ];
  },

  async send(ask, history) {
    const body = given({
      model: ask.model,
      input: history,
      instructions: ask.system?.[0],
      tools: ask.declared.length
        ? ask.declared.map(({ name, description, schema }) => ({ type: 'function', name, description, parameters: schema, strict: false }))
        : undefined,
      tool_choice: MODES.has(ask.choice) ? ask.choice : { type: 'function', name: ask.choice },
      parallel_tool_calls: ask.parallel,
      max_output_tokens: ask.limit,
      temperature: ask.temperature,
      store: false,
      reasoning: ask.think ? { effort: 'high', summary: 'auto' } : undefined,
      include: ask.think ? ['reasoning.encrypted_content'] : undefined,
      text: ask.schema ? { format: zodTextFormat(Person, 'person') } : undefined,
    });
    let words = '';
    let final;
    try {
      if (ask.stream) {
        const stream = sdk.responses.stream(body);
        let number = 0;
        for await (const event of stream) {
          check(event.sequence_number === number, `${event.type} is number ${event.sequence_number}, not ${number}`);
          number += 1;
          if (event.type === 'response.output_text.delta') words += event.delta;
        }
        final = await stream.finalResponse();
      } else if (ask.schema) {
        final = await sdk.responses.parse(body);
      } else {
        final = await sdk.responses.create(body);
      }
    } catch (error) {
      return [failure(OpenAI, error, words), null];
    }
    if (final.status === 'failed') return [raised('stream', new Error(final.error.code), { message: final.error.message, words }), null];
    return [this.seen(final, ask), final.output];
  },

  seen(final, ask) {
    const calls = final.output
      .filter(({ type }) => type === 'function_call')
      .map((item) => ({ id: item.call_id, name: item.name, arguments: JSON.parse(item.arguments) }));
    const parts = (type) => final.output.filter((item) => item.type === type);
    const stop = final.status === 'incomplete' ? { max_output_tokens: 'length', content_filter: 'filter' }[final.incomplete_details.reason] : calls.length ? 'call' : 'end';
    const { usage } = final;
    return seen({
      text: final.output_text,
      thinking: parts('reasoning').flatMap((item) => [...item.summary, ...(item.content ?? [])]).map(({ text }) => text).join(''),
      refusal: parts('message').flatMap((item) => item.content).map((part) => part.refusal ?? '').join(''),
      calls,
      stop,
      usage: usage && {
        input: usage.input_tokens,
        read: usage.input_tokens_details.cached_tokens,
        written: usage.input_tokens_details.cache_write_tokens,
        output: usage.output_tokens,
        thought: usage.output_tokens_details.reasoning_tokens,
      },
      parsed: ask.schema ? final.output_parsed : null,
      id: final.id,
      model: final.model,
    });
  },

  reply(history, turn, results) {
    for (const item of turn) {
      const { parsed_arguments: _arguments, ...plain } = item;
      if (plain.type === 'message') plain.content = plain.content.map(({ parsed: _parsed, ...part }) => part);
      history.push(plain);
    }
    for (const [call, text] of results.toReversed()) history.push({ type: 'function_call_output', call_id: call.id, output: text });
  },
};
