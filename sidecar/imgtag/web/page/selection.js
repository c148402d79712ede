// Pictures that were chosen, over several searches, and what to do with them.

import { plural } from './format.js';
import { html, useMemo, useState } from './html.js';
import { quote, shellQuote } from './query.js';

const MAX_NAMED = 40; // objects that fit into a query, which has at most 200 words and 4,000 characters
const MAX_QUERY = 4000;

export function useSelection() {
  const [chosen, setChosen] = useState(new Map());
  return useMemo(() => ({
    size: chosen.size,
    hits: [...chosen.values()],
    has: (id) => chosen.has(id),
    clear: () => setChosen(new Map()),
    all: (hits) => setChosen(new Map([...chosen, ...hits.map((hit) => [hit.id, hit])])),
    toggle(hits, index) {
      const next = new Map(chosen);
      if (!next.delete(hits[index].id)) next.set(hits[index].id, hits[index]);
      setChosen(next);
    },
    extend(hits, from, to) {
      const range = hits.slice(Math.min(from, to), Math.max(from, to) + 1);
      setChosen(new Map([...chosen, ...range.map((hit) => [hit.id, hit])]));
    },
  }), [chosen]);
}

export function SelectionBar({ selection, results, say }) {
  if (!selection.size) return null;
  const { hits } = selection;
  const query = selectionQuery(hits);
  const command = query && copyCommand(query);
  return html`
    <div class="selection" role="toolbar" aria-label="Selected pictures">
      <b aria-live="polite">${plural(selection.size, 'picture')} selected</b>
      ${results.hits.length > selection.size && html`
        <button type="button" onClick=${() => selection.all(results.hits)}>Select all ${results.hits.length} shown</button>`}
      <button type="button" onClick=${() => copyText(keyList(hits), say, 'Keys copied')}>Copy keys</button>
      <button type="button" onClick=${() => download(hits)}>Download manifest</button>
      <button type="button" disabled=${!command} onClick=${() => copyText(command, say, 'Command copied')}
        title=${command || `A command names at most ${MAX_NAMED} pictures; take the manifest for more`}>Copy command</button>
      <button type="button" class="plain" onClick=${selection.clear}>Clear</button>
    </div>`;
}

// One BUCKET/KEY a line, as `imgtag search --keys` prints them.
function keyList(hits) {
  return hits.map((hit) => `${hit.bucket}/${hit.key}\n`).join('');
}

function download(hits) {
  const lines = hits.map(({ id, bucket, key, labels }) => `${JSON.stringify({ id, bucket, key, labels: labels ?? {} })}\n`);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob(lines, { type: 'application/jsonl' }));
  link.download = 'imgtag-manifest.jsonl';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// A query that finds these objects; empty where there are too many.
function selectionQuery(hits) {
  if (hits.length > MAX_NAMED) return '';
  const query = hits.map((hit) => `(bucket:${quote(hit.bucket)} prefix:${quote(hit.key)})`).join(' OR ');
  return query.length > MAX_QUERY ? '' : query;
}

// `--` ends the options: a query that was sent by somebody must not become one.
export function copyCommand(query) {
  return `imgtag dataset copy --to BUCKET/PREFIX${query && ` -- ${shellQuote(query)}`}`;
}

export async function copyText(text, say, done) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers have no clipboard for pages that came by plain HTTP from another machine.
    const area = document.createElement('textarea');
    area.value = text;
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  say(done);
}
