// Where the sidecar asks for a token: the browser keeps a session in a cookie that scripts cannot read.

import * as api from './api.js';
import { html, useEffect, useRef, useState } from './html.js';

export function Login({ onDone }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const input = useRef(null);
  useEffect(() => input.current.focus(), []);

  async function submit(event) {
    event.preventDefault();
    setBusy(true);
    try {
      await api.signIn(input.current.value.trim());
      onDone();
    } catch (failure) {
      setError(failure);
      setBusy(false);
      input.current.select();
    }
  }

  return html`
    <main class="login">
      <form onSubmit=${submit}>
        <img src="/page/icon.svg" alt="" width="48" height="48" />
        <h1>imgtag</h1>
        <label for="token">Token</label>
        <input ref=${input} id="token" type="password" autocomplete="current-password" required
          aria-invalid=${error ? 'true' : undefined} aria-describedby=${error ? 'login-error' : 'login-hint'} />
        ${error && html`<p id="login-error" class="notice error" role="alert"><b>${error.message}</b> ${error.hint}</p>`}
        <button type="submit" class="primary" disabled=${busy}>Sign in</button>
        <p id="login-hint" class="quiet">The administrator of the sidecar has set it as <code>token</code> under <code>[web]</code>.</p>
      </form>
    </main>`;
}
