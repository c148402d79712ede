// What the page says besides pictures: errors with what to do, empty results, and short messages.

import { searchLink } from './address.js';
import { html } from './html.js';
import { both, quote } from './query.js';

export function ErrorNotice({ error, query = '', onRetry }) {
  const { position } = error;
  return html`
    <div class="notice error" role="alert">
      <p><b>${error.message}</b></p>
      ${position && query && html`<p><${Marked} text=${query} from=${position.from} to=${position.to} /></p>`}
      ${error.hint && html`<p>${error.hint}</p>`}
      ${onRetry && error.code !== 'query' && !position && html`<p><button type="button" onClick=${onRetry}>Try again</button></p>`}
    </div>`;
}

// The query with the part that cannot be read underlined.
function Marked({ text, from, to }) {
  const letters = [...text]; // the server counts code points
  const part = (start, end) => letters.slice(start, end).join('');
  const end = Math.max(to, from + 1);
  return html`<code class="marked">${part(0, from)}<mark>${part(from, end) || ' '}</mark>${part(end)}</code>`;
}

export function Empty({ query, results, confidence }) {
  const { notes, near } = results;
  const nearby = [...new Set([...notes.flatMap((note) => note.near ?? []), ...near])];
  const nothing = !query.trim();
  return html`
    <div class="empty">
      <h2>${nothing ? 'No pictures yet' : 'No picture matches'}</h2>
      ${nothing && html`<p>Nothing is labelled so far. Pictures appear here as they are uploaded;
        <a href=${searchLink('status:*')}>failed and refused objects</a> are listed apart.</p>`}
      ${!nothing && notes.map((note) => html`
        <p key=${note.word}>Neither the model nor the index knows <b><bdi>${note.word}</bdi></b>.</p>`)}
      ${nearby.length > 0 && html`
        <p>Close to it:</p>
        <ul class="chips">${nearby.map((name) => html`
          <li key=${name} class="chip"><a href=${searchLink(quote(name))}><bdi>${name}</bdi></a></li>`)}</ul>`}
      ${!nothing && html`
        <ul class="advice">
          ${results.chips.length > 1 && html`<li>Remove a part of the query above.</li>`}
          ${confidence > 0 && html`<li>Lower the confidence, now ${confidence.toFixed(2)}.</li>`}
          ${!/status:/i.test(query) && html`<li><a href=${searchLink(both(query, 'status:*'))}>Search failed and refused objects too</a>.</li>`}
          <li><a href=${searchLink('')}>Show all pictures</a></li>
        </ul>`}
    </div>`;
}
