// What narrows a search: the parts of the query, each of which can be removed, the confidence, and the facets.

import { go, searchLink } from './address.js';
import { count, displayed, month } from './format.js';
import { html, useEffect, useRef, useState } from './html.js';
import { anyOf, both } from './query.js';

const MAX_SHOWN = 8; // values of a facet before "more"
const BAR = 4; // rem that a bar takes at most, so that the two names below fit
const MAX_BARS = 36; // months in the chart; a longer time is shown in years
const STATUS = { labelled: 'Labelled', unlabelled: 'No label', refused: 'Refused', failed: 'Failed' };
const FIELDS = { label: 'labels' }; // fields of the document that a query calls otherwise
const SORTS = [['', 'Best match'], ['newest', 'Newest first']];

export function Chips({ chips, names }) {
  if (!chips.length) return null;
  return html`
    <ul class="chips" aria-label="Parts of the query">
      ${chips.map((chip) => html`
        <li key=${chip.text} class=${chip.negative ? 'chip negative' : 'chip'}>
          ${chip.negative && html`<b>not</b> `}<bdi>${readable(chip, names)}</bdi>
          <a class="remove" href=${searchLink(chip.without)} aria-label=${`Remove ${chip.text}`}>×</a>
        </li>`)}
    </ul>`;
}

// A part of a query without the signs that the parser needs.
function readable({ text, negative, field, values = [] }, names) {
  if (values.length > 1) {
    const name = Object.keys(FIELDS).find((known) => FIELDS[known] === field) ?? field;
    return html`<span class="field">${name}</span> ${values.map((value) => displayed(names, value)).join(' or ')}`;
  }
  const bare = negative ? text.replace(/^(-|not )\s*/i, '') : text;
  const parts = /^([\w.]+):(.*)$/s.exec(bare);
  const unquoted = (value) => (/^"(\\.|[^"\\])*"$/s.test(value) ? value.slice(1, -1).replace(/\\(["\\])/g, '$1') : value);
  if (!parts) return unquoted(bare);
  return html`<span class="field">${parts[1]}</span> ${unquoted(parts[2])}`;
}

export function ConfidenceSlider({ confidence }) {
  const [value, setValue] = useState(confidence);
  const timer = useRef(0);
  useEffect(() => setValue(confidence), [confidence]);

  function slide(event) {
    const next = Number(event.target.value);
    setValue(next);
    clearTimeout(timer.current);
    // While sliding, the entry in the history is replaced: going back must not repeat every step.
    timer.current = setTimeout(() => go({ confidence: next }, { replace: true }), 200);
  }

  return html`
    <label class="slider">
      <span>Confidence ≥</span>
      <input type="range" min="0" max="1" step="0.05" value=${value} onInput=${slide}
        aria-valuetext=${`at least ${value.toFixed(2)}`} />
      <output>${value.toFixed(2)}</output>
    </label>`;
}

export function SortMenu({ sort }) {
  return html`
    <label class="sort"><span class="hidden">Order</span>
      <select value=${sort} onChange=${(event) => go({ sort: event.target.value })}>
        ${SORTS.map(([value, name]) => html`<option key=${value} value=${value}>${name}</option>`)}
      </select>
    </label>`;
}

export function Facets({ query, chips, counted, error, onRetry }) {
  if (error) {
    return html`<p class="quiet">The counts are missing: ${error.message}</p>
      <p><button type="button" onClick=${onRetry}>Try again</button></p>`;
  }
  const { facets, names } = counted;
  return html`
    <${Facet} title="Category" field="category" values=${facets.category} query=${query} chips=${chips} names=${names} />
    <${Facet} title="Label" field="label" values=${facets.labels} query=${query} chips=${chips} names=${names} />
    <${Times} values=${facets.when_month} query=${query} chips=${chips} />
    <${Facet} title="Bucket" field="bucket" values=${facets.bucket} query=${query} chips=${chips} />
    <${Facet} title="Type" field="type" values=${facets.type} query=${query} chips=${chips} />
    <${Facet} title="Status" field="status" values=${facets.status} query=${query} chips=${chips} names=${STATUS} />`;
}

// Values of one field are alternatives: each one that is chosen adds to what is found.
function Facet({ title, field, values = {}, query, chips, names = {} }) {
  const [all, setAll] = useState(false);
  const chip = chips.find((candidate) => !candidate.negative && candidate.field === (FIELDS[field] ?? field));
  const chosen = chip?.values ?? [];
  const isChosen = (value) => chosen.some((other) => sameValue(field, value, other));
  const absent = chosen.filter((value) => !Object.keys(values).some((other) => sameValue(field, other, value)));
  const rows = [...Object.entries(values), ...absent.map((value) => [value, 0])]
    .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  if (!rows.length) return null;
  const shown = all ? rows : rows.filter(([value], place) => place < MAX_SHOWN || isChosen(value));
  const hidden = rows.length - shown.length;
  const most = Math.max(1, rows[0][1]);
  const toggled = (value) => {
    const kept = isChosen(value) ? chosen.filter((other) => !sameValue(field, value, other)) : [...chosen, value];
    const rest = chip ? chip.without : query;
    return kept.length ? both(rest, anyOf(field, kept)) : rest;
  };
  return html`
    <section class="facet" aria-label=${title}>
      <h3>${title}</h3>
      <ul>
        ${shown.map(([value, number]) => {
          const name = displayed(names, value);
          return html`
            <li key=${value}>
              <a class="value" href=${searchLink(toggled(value))} aria-current=${isChosen(value) ? 'true' : undefined}
                title=${isChosen(value) ? `Remove ${name}` : name}>
                <span class="name"><bdi>${name}</bdi></span><span class="count">${count(number)}</span>
                <span class="share" aria-hidden="true" style=${{ width: `${(100 * number) / most}%` }}></span>
              </a>
            </li>`;
        })}
      </ul>
      ${(hidden > 0 || all) && rows.length > MAX_SHOWN && html`
        <button type="button" class="plain more" aria-expanded=${all ? 'true' : 'false'} onClick=${() => setAll(!all)}>
          ${all ? 'Fewer' : `${count(hidden)} more`}
        </button>`}
    </section>`;
}

// Whether a value of the index is the one that a query names: case is ignored, and `png` is short for `image/png`.
function sameValue(field, value, other) {
  const fold = (text) => text.normalize('NFKD').toLowerCase().trim();
  return fold(value) === fold(other) || (field === 'type' && fold(value) === `image/${fold(other)}`);
}

function Times({ values = {}, query, chips }) {
  const bars = periods(values);
  if (!bars.length) return null;
  const most = Math.max(...bars.map(([, number]) => number));
  const name = (period) => (period.length > 4 ? month(period) : period);
  const chosen = chips.find((chip) => !chip.negative && /^on:/i.test(chip.text));
  return html`
    <section class="facet" aria-label="Time">
      <h3>Time</h3>
      <div style=${{ maxWidth: `${BAR * bars.length}rem` }}>
        <ul class="times">
          ${bars.map(([period, number]) => html`
            <li key=${period}>${number > 0 && html`
              <a href=${searchLink(both(chosen ? chosen.without : query, `on:${period}`))}
                aria-label=${`${name(period)}: ${count(number)}`} title=${`${name(period)}: ${count(number)}`}>
                <span style=${{ height: `${Math.max(4, (100 * number) / most)}%` }}></span>
              </a>`}
            </li>`)}
        </ul>
        <p class="range"><span>${name(bars[0][0])}</span>${bars.length > 1 && html`<span>${name(bars.at(-1)[0])}</span>`}</p>
      </div>
    </section>`;
}

// Months with their counts, also the empty ones between; years where the months are too many.
function periods(values) {
  const months = Object.keys(values).sort();
  if (!months.length) return [];
  const number = (text) => 12 * Number(text.slice(0, 4)) + Number(text.slice(5, 7)) - 1;
  const [first, last] = [number(months[0]), number(months.at(-1))];
  const yearly = last - first >= MAX_BARS;
  const nameOf = (index) => (yearly ? String(index).padStart(4, '0')
    : `${String(Math.floor(index / 12)).padStart(4, '0')}-${String((index % 12) + 1).padStart(2, '0')}`);
  const range = yearly ? [Math.floor(first / 12), Math.floor(last / 12)] : [first, last];
  const sums = new Map();
  for (const [name, amount] of Object.entries(values)) {
    const period = yearly ? name.slice(0, 4) : name;
    sums.set(period, (sums.get(period) ?? 0) + amount);
  }
  return Array.from({ length: range[1] - range[0] + 1 }, (_, step) => nameOf(range[0] + step))
    .map((period) => [period, sums.get(period) ?? 0]);
}
