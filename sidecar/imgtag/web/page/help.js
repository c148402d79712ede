// The keys and the query language, on one sheet.

import { searchLink } from './address.js';
import { html, useLayoutEffect, useRef } from './html.js';

const KEYS = [
  ['/', 'Search'], ['↑ ↓', 'Choose a suggestion'], ['Enter', 'Search, or open a picture'], ['← → ↑ ↓', 'Go through the pictures'],
  ['Space', 'Select a picture'], ['Shift + arrows', 'Select several'], ['Ctrl + A', 'Select all that are loaded'],
  ['Esc', 'Close, or clear the selection'], ['?', 'This help'],
];
const QUERIES = [
  ['fox', 'a label, a broader term, a synonym, or a word of the key'], ['"kit fox">0.4', 'that label, with more than 40 %'],
  ['fox -dog', 'fox without dog'], ['(fox OR wolf) -zoo', 'either, and not in zoo'], ['label:"red fox"', 'exactly that label'],
  ['after:2024-05 before:2025', 'taken in that time'], ['near:46.5,7.9,10km', 'taken near that place'],
  ['prefix:2024/zoo/', 'in that folder'], ['width>4000 size<5MB', 'by width and size'], ['status:failed', 'files that could not be decoded'],
];

export function Help({ onClose }) {
  const dialog = useRef(null);
  useLayoutEffect(() => {
    dialog.current.showModal();
    return () => dialog.current?.close();
  }, []);
  return html`
    <dialog ref=${dialog} class="help" aria-labelledby="help-title" onCancel=${(event) => { event.preventDefault(); onClose(); }}
      onClick=${(event) => (event.target === dialog.current || event.target.closest('a')) && onClose()}>
      <article>
        <header><h2 id="help-title">Help</h2>
          <button type="button" class="plain" aria-label="Close" onClick=${onClose}>×</button></header>
        <h3>Keys</h3>
        <dl>${KEYS.map(([keys, what]) => html`<div key=${keys}><dt><kbd>${keys}</kbd></dt><dd>${what}</dd></div>`)}</dl>
        <h3>Queries</h3>
        <dl>${QUERIES.map(([query, what]) => html`
          <div key=${query}><dt><a href=${searchLink(query)}><code>${query}</code></a></dt><dd>${what}</dd></div>`)}</dl>
      </article>
    </dialog>`;
}
