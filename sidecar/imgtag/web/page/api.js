// The sidecar's HTTP API. What goes wrong is an ApiError with the words of the server.

export class ApiError extends Error {
  constructor({ code, message, hint = '', position = null, status = 0 }) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.position = position;
    this.status = status;
  }
}

const unauthorised = new Set();

// Calls the listener when the server asks for the token again.
export function onUnauthorised(listener) {
  unauthorised.add(listener);
  return () => unauthorised.delete(listener);
}

export const search = (params, signal) => get('/api/search', params, signal);
export const facets = (params, signal) => get('/api/facets', params, signal);
export const suggest = (prefix, signal) => get('/api/suggest', { prefix }, signal);
export const similar = (params, signal) => get('/api/similar', params, signal);
export const object = (id, signal) => get(`/api/objects/${encodeURIComponent(id)}`, {}, signal);
export const dashboard = (params, signal) => get('/api/dashboard', params, signal);
export const session = () => get('/api/session');
export const signIn = (token) => request('/api/session', { method: 'POST', body: JSON.stringify({ token }) });
export const signOut = () => request('/api/session', { method: 'DELETE' });

// A picture that fits into a square of `pixels`.
export function thumbnail(id, pixels) {
  return `/api/objects/${encodeURIComponent(id)}/thumb?width=${pixels}&height=${pixels}`;
}

export function original(id) {
  return `/api/objects/${encodeURIComponent(id)}/original`;
}

function get(path, params = {}, signal = undefined) {
  const given = Object.entries(params).filter(([, value]) => value !== '' && value !== undefined && value !== null);
  const text = new URLSearchParams(given).toString();
  return request(text ? `${path}?${text}` : path, { signal });
}

async function request(path, options) {
  const headers = options.body ? { 'Content-Type': 'application/json' } : {};
  let response;
  let body;
  try {
    response = await fetch(path, { ...options, headers });
    const text = await response.text();
    body = text ? JSON.parse(text) : null;
  } catch (failure) {
    if (failure.name === 'AbortError') throw failure;
    throw new ApiError({
      code: 'unreachable', message: 'The sidecar does not answer.', hint: 'Is imgtag run still running?',
    });
  }
  if (response.ok) return body;
  const error = body?.error ?? { code: 'http', message: `The sidecar answered ${response.status}.` };
  if (response.status === 401 && path !== '/api/session') for (const listener of unauthorised) listener();
  throw new ApiError({ ...error, status: response.status });
}
