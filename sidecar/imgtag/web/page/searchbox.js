// The search box: results follow while typing, and a list completes the last word.

import * as api from './api.js';
import { html, useEffect, useRef, useState } from './html.js';
import { lastWord, quote, replaceLastWord, term } from './query.js';

const PAUSE = 120; // ms without a key before the server is asked
const FIELDS = [
  ['after:', 'after:2024-07, by the time taken'],
  ['before:', 'before:2024, by the time taken'],
  ['bucket:', 'bucket:photos'],
  ['camera:', 'camera:"Canon EOS R5"'],
  ['category:', 'category:animal'],
  ['confidence>', 'confidence>0.5, of the best label'],
  ['height>', 'height>1000, in pixels'],
  ['label:', 'label:red_fox, exactly this label'],
  ['near:', 'near:46.5,7.9,10km'],
  ['on:', 'on:2024-07-01, or a month, or a year'],
  ['prefix:', 'prefix:2024/zoo/, a folder'],
  ['size>', 'size>1MB'],
  ['status:', 'status:failed, status:*'],
  ['title:', 'title:img_*, the name of the file'],
  ['type:', 'type:jpeg'],
  ['width>', 'width>4000, in pixels'],
];

// `facets` are the values that the current results have; they complete what stands after a field.
export function SearchBox({ query, facets, onType, onSubmit }) {
  const [text, setText] = useState(query);
  const [options, setOptions] = useState([]);
  const [active, setActive] = useState(-1);
  const [typing, setTyping] = useState(false);
  const input = useRef(null);
  const timer = useRef(0);

  useEffect(() => { setText(query); setTyping(false); }, [query]);
  useEffect(() => {
    if (!typing) { close(); return undefined; }
    const controller = new AbortController();
    const wait = setTimeout(async () => {
      const found = await complete(text, facets, controller.signal);
      if (!controller.signal.aborted) { setOptions(found); setActive(-1); }
    }, PAUSE);
    return () => { clearTimeout(wait); controller.abort(); };
  }, [text, typing]);
  useEffect(() => {
    input.current?.parentNode.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' });
  }, [active]);

  function close() {
    setOptions([]);
    setActive(-1);
  }

  function type(value) {
    setText(value);
    setTyping(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onType(value), 2 * PAUSE);
  }

  function submit(value) {
    clearTimeout(timer.current);
    setTyping(false);
    close();
    setText(value.trim());
    onSubmit(value.trim());
  }

  function choose(option) {
    if (!option.partial) { submit(option.result); return; }
    type(option.result);
    input.current.focus();
  }

  function onKeyDown(event) {
    if (event.isComposing) return;
    const last = options.length - 1;
    if (event.key === 'ArrowDown' && last >= 0) setActive(active >= last ? -1 : active + 1);
    else if (event.key === 'ArrowUp' && last >= 0) setActive(active < 0 ? last : active - 1);
    else if (event.key === 'Enter') (active >= 0 ? choose(options[active]) : submit(text));
    else if (event.key === 'Escape' && options.length) close();
    else if (event.key === 'Escape' && typing) submit(query);
    else if (event.key === 'Escape') input.current.blur();
    else return;
    event.preventDefault();
  }

  // Leaving the box keeps what is shown: nothing may move under the pointer that is about to click on a picture.
  function onBlur() {
    clearTimeout(timer.current);
    close();
    if (typing) onType(text, { done: true });
    setTyping(false);
  }

  const expanded = options.length > 0;
  return html`
    <form class="searchbox" role="search" onSubmit=${(event) => { event.preventDefault(); submit(text); }}>
      <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
        <path d="M10.5 3a7.5 7.5 0 1 0 4.6 13.4l4.3 4.2 1.4-1.4-4.2-4.3A7.5 7.5 0 0 0 10.5 3m0 2a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11" />
      </svg>
      <input ref=${input} id="search" type="text" inputmode="search" enterkeyhint="search" autocomplete="off"
        autocapitalize="none" spellcheck=${false} placeholder="Search pictures: fox, animal -dog, after:2024"
        aria-label="Search pictures" role="combobox" aria-autocomplete="list" aria-expanded=${expanded ? 'true' : 'false'}
        aria-controls="suggestions" aria-activedescendant=${active >= 0 ? `suggestion-${active}` : undefined}
        maxlength="4000" value=${text} onInput=${(event) => type(event.target.value)}
        onKeyDown=${onKeyDown} onBlur=${onBlur} />
      ${text && html`<button type="button" class="plain clear" aria-label="Clear the search"
        onPointerDown=${(event) => event.preventDefault()}
        onClick=${() => { submit(''); input.current.focus(); }}>×</button>`}
      <kbd class="slash" aria-hidden="true">/</kbd>
      <ul id="suggestions" role="listbox" aria-label="Suggestions" hidden=${!expanded}>
        ${options.map((option, index) => html`
          <li key=${option.result} id=${`suggestion-${index}`} role="option" aria-selected=${index === active ? 'true' : 'false'}
            onPointerDown=${(event) => event.preventDefault()} onClick=${() => choose(option)}>
            <span>${option.label}</span>${option.hint && html`<small>${option.hint}</small>`}
          </li>`)}
      </ul>
    </form>`;
}

// What the text may go on with: [{label, hint, result: the whole text then, partial: more has to be typed}].
async function complete(text, facets, signal) {
  const value = /(?:^|[\s(-])(category|bucket|type|status|label):([^\s"()]*)$/i.exec(text);
  if (value) return completeValue(text, value[1].toLowerCase(), value[2], facets);
  const word = lastWord(text);
  if (!word) return [];
  const fields = FIELDS.filter(([name]) => name.startsWith(word.text.toLowerCase()) && name.length > word.text.length)
    .slice(0, 2)
    .map(([name, hint]) => ({ label: name, hint, result: replaceLastWord(text, name).trimEnd(), partial: true }));
  let terms = [];
  try {
    terms = (await api.suggest(word.text, signal)).suggestions;
  } catch {
    // The search itself reports what is wrong; suggestions are a convenience.
  }
  return [...terms.slice(0, 8).map((name) => ({ label: name, result: replaceLastWord(text, quote(name)) })), ...fields];
}

function completeValue(text, field, begun, facets) {
  const known = Object.entries(facets[field === 'label' ? 'labels' : field] ?? {});
  return known.filter(([name]) => name.toLowerCase().startsWith(begun.toLowerCase()))
    .slice(0, 8)
    .map(([name, number]) => ({
      label: `${field}:${name}`,
      hint: String(number),
      result: `${text.slice(0, text.length - begun.length - field.length - 1)}${term(field, name)} `,
    }));
}
