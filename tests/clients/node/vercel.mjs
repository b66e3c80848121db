// The `ai` package with its official providers for each of the four formats.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogle } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import { APICallError, generateText, jsonSchema, Output, streamText, tool } from 'ai';

import { EDGE, given, KEY, raised, seen } from './seen.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;

const openai = createOpenAI({ baseURL: `${EDGE}/v1`, apiKey: KEY });
const MODELS = {
  chat: (name) => openai.chat(name),
  responses: (name) => openai.responses(name),
  messages: createAnthropic({ baseURL: `${EDGE}/v1`, apiKey: KEY }),
  gemini: createGoogle({ baseURL: `${EDGE}/v1beta`, apiKey: KEY }),
};
const PERSON = jsonSchema({
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' } },
  required: ['name', 'age'],
  additionalProperties: false,
});
const STOPS = { stop: 'end', length: 'length', 'tool-calls': 'call', 'content-filter': 'filter' };
const KINDS = { 400: 'bad_request', 401: 'authentication', 403: 'permission', 404: 'not_found', 429: 'rate_limit' };

// What each provider wants to be told beside the common settings; the models' names here are the edge's, not the vendors'.
const options = (format, ask) => ({
  openai: given({
    store: format === 'responses' ? false : undefined,
    parallelToolCalls: ask.parallel,
    strictJsonSchema: true,
    forceReasoning: ask.think,
    reasoningEffort: ask.think ? 'high' : undefined,
    reasoningSummary: ask.think && format === 'responses' ? 'auto' : undefined,
  }),
  anthropic: given({
    structuredOutputMode: 'outputFormat',
    disableParallelToolUse: ask.parallel === false ? true : undefined,
    thinking: ask.think ? { type: 'adaptive', display: 'summarized' } : undefined,
    effort: ask.think ? 'high' : undefined,
  }),
  google: given({ thinkingConfig: ask.think ? { includeThoughts: true, thinkingLevel: 'high' } : undefined }),
});

function failure(error, words) {
  if (error instanceof APICallError && error.statusCode !== undefined && error.statusCode !== 200) {
    const status = error.statusCode;
    return raised(KINDS[status] ?? (status >= 500 ? 'server' : 'status'), error, {
      status,
      retryAfter: error.responseHeaders?.['retry-after'] ?? null,
      requestId: error.responseHeaders?.['x-request-id'] ?? null,
      words,
    });
  }
  return raised('stream', error instanceof Error ? error : new Error(JSON.stringify(error)), { words });
}

export const vercel = (format) => ({
  begin(ask) {
    const part = ({ kind, url, data }) =>
      kind === 'image'
        ? { type: 'file', mediaType: 'image/png', data: url ? new URL(url) : data }
        : { type: 'file', mediaType: 'application/pdf', filename: 'a.pdf', data };
    const content = [{ type: 'text', text: ask.text }, ...(ask.parts ?? []).map(part)];
    return [
      ...(ask.system ?? []).map((text) => ({ role: 'system', content: text })),
      ...(ask.before ?? []).map(([role, text]) => ({ role, content: text })),
      { role: 'user', content },
    ];
  },

  async send(ask, history) {
    const declared = ask.declared.map(({ name, description, schema }) => [name, tool({ description, inputSchema: jsonSchema(schema) })]);
    const modes = new Set(['auto', 'required', 'none', undefined]);
    const request = given({
      model: MODELS[format](ask.model),
      messages: history,
      allowSystemInMessages: true,
      tools: declared.length ? Object.fromEntries(declared) : undefined,
      toolChoice: modes.has(ask.choice) ? ask.choice : { type: 'tool', toolName: ask.choice },
      maxOutputTokens: ask.limit,
      temperature: ask.temperature,
      stopSequences: ask.stop,
      maxRetries: 0,
      output: ask.schema ? Output.object({ schema: PERSON, name: 'person' }) : undefined,
      providerOptions: options(format, ask),
    });
    let words = '';
    let problem;
    try {
      let result;
      if (ask.stream) {
        const stream = streamText({ ...request, onError: () => {} });
        for await (const event of stream.fullStream) {
          if (event.type === 'text-delta') words += event.text;
          if (event.type === 'error') problem ??= event.error;
        }
        if (problem) return [failure(problem, words), null];
        const keys = ['text', 'reasoningText', 'toolCalls', 'finishReason', 'usage', 'response', 'output'];
        result = {};
        for (const key of keys) if (key !== 'output' || ask.schema) result[key] = await stream[key];
      } else {
        result = await generateText(request);
      }
      return [this.seen(result, ask, words), result.response.messages];
    } catch (error) {
      return [failure(problem ?? error, words), null];
    }
  },

  seen(result, ask, words) {
    if (result.finishReason === 'error') return raised('stream', new Error('finishReason: error'), { words });
    const { usage } = result;
    return seen({
      text: result.text,
      thinking: result.reasoningText ?? '',
      calls: result.toolCalls.map(({ toolCallId, toolName, input }) => ({ id: toolCallId, name: toolName, arguments: input })),
      stop: STOPS[result.finishReason] ?? null,
      usage: usage.inputTokens === undefined ? null : {
        input: usage.inputTokens,
        read: usage.inputTokenDetails.cacheReadTokens ?? 0,
        written: usage.inputTokenDetails.cacheWriteTokens ?? null,
        output: usage.outputTokens,
        thought: usage.outputTokenDetails.reasoningTokens ?? 0,
      },
      parsed: ask.schema ? result.output : null,
      id: result.response.id,
      model: result.response.modelId,
    });
  },

  reply(history, turn, results) {
    const content = results.map(([call, text]) => ({
      type: 'tool-result', toolCallId: call.id, toolName: call.name, output: { type: 'text', value: text },
    }));
    history.push(...turn, { role: 'tool', content });
  },
});
