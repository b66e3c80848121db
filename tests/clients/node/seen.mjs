// The shape of what a client saw; see `seen` and `raised` in ../clients.py.
export const EDGE = process.env.EDGE;
export const KEY = process.env.KEY;

export const seen = (facts) => ({ text: '', thinking: '', refusal: '', calls: [], stop: null, usage: null, ...facts });

export const raised = (kind, error, { status = null, message, retryAfter = null, requestId = null, words = '' } = {}) =>
  seen({
    text: words,
    raised: {
      kind,
      class: error.constructor.name,
      status,
      message: message ?? `${error.message}`,
      retry_after: retryAfter,
      request_id: requestId,
    },
  });

// Drops what was not asked for: a key with `undefined` is a key to some.
export const given = (settings) => Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));

export function check(holds, problem) {
  if (!holds) throw new Error(problem);
}

// What the errors of the two official SDKs, which have the same classes, say.
export function failure(sdk, error, words) {
  const kinds = [
    [sdk.BadRequestError, 'bad_request'],
    [sdk.AuthenticationError, 'authentication'],
    [sdk.PermissionDeniedError, 'permission'],
    [sdk.NotFoundError, 'not_found'],
    [sdk.RateLimitError, 'rate_limit'],
    [sdk.InternalServerError, 'server'],
  ];
  if (error instanceof sdk.APIError && error.status !== undefined) {
    return raised(kinds.find(([kind]) => error instanceof kind)?.[1] ?? 'status', error, {
      status: error.status,
      retryAfter: error.headers?.get('retry-after') ?? null,
      requestId: error.requestID ?? null,
      words,
    });
  }
  return raised('stream', error, { words });
}
