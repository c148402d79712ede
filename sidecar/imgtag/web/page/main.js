// The page: which view is shown, and what is common to all of them.

import { followLinks, go, holdPlace, hrefOf, releasePlace, useAddress } from './address.js';
import * as api from './api.js';
import { Arrivals } from './arrivals.js';
import { Dashboard } from './dashboard.js';
import { Chips, ConfidenceSlider, Facets, SortMenu } from './filters.js';
import { plural } from './format.js';
import { Gallery, Loading, MoreState } from './gallery.js';
import { Help } from './help.js';
import { html, render, useCallback, useEffect, useLayoutEffect, useRef, useState } from './html.js';
import { Login } from './login.js';
import { Empty, ErrorNotice } from './notices.js';
import { ObjectView } from './object.js';
import { both, whileTyping } from './query.js';
import { forgetResults, useResults } from './results.js';
import { SearchBox } from './searchbox.js';
import { copyCommand, copyText, SelectionBar, useSelection } from './selection.js';

const RETRY = 5000; // ms between two tries while the index does not answer
const MESSAGE = 2500; // ms that a short message stays

function App() {
  const [session, setSession] = useState(null);
  const ask = useCallback(() => api.session().then(setSession, (error) => setSession({ error })), []);
  useEffect(() => { ask(); return api.onUnauthorised(() => setSession({ needed: true, ok: false })); }, []);
  if (!session) return null;
  if (session.error) return html`<main class="login"><${ErrorNotice} error=${session.error} onRetry=${ask} /></main>`;
  if (session.needed && !session.ok) return html`<${Login} onDone=${() => { forgetResults(); ask(); }} />`;
  const signOut = async () => { await api.signOut(); forgetResults(); ask(); };
  return html`<${Views} signOut=${session.needed ? signOut : null} />`;
}

function Views({ signOut }) {
  const address = useAddress();
  const [typed, setTyped] = useState(null); // the query while it is typed
  const [help, setHelp] = useState(false);
  const [message, setMessage] = useState('');
  const [filters, setFilters] = useState(false);
  const selection = useSelection();
  const query = typed ?? address.query;
  const { results, shown, counted } = useResults({ ...address, query }, loadedBefore());
  const opened = useLastOpened(address.object);
  useEffect(() => setTyped(null), [address.query, address.view]);
  useTitle(address, query);
  useScroll(address, results);
  useFocus(address);
  useShortcuts(() => setHelp(true));
  useRetries(results);
  useEffect(() => {
    const timer = setTimeout(() => setMessage(''), MESSAGE);
    return () => clearTimeout(timer);
  }, [message]);

  function onType(text, { done = false } = {}) {
    const wanted = whileTyping(text);
    if (done) go({ query: wanted.trim(), view: 'gallery' });
    else if (address.view === 'gallery') { holdPlace(); setTyped(wanted); }
  }

  function onSubmit(text) {
    setTyped(null);
    if (text !== address.query || address.view !== 'gallery') go({ query: text, view: 'gallery', object: '' });
    else if (results.error) results.reload();
    else {
      releasePlace();
      scrollWhenPossible(history.state?.scroll ?? 0);
    }
  }

  const gallery = address.view === 'gallery';
  return html`
    <a class="skip" href="#main">Skip to the content</a>
    <header class="header">
      <a class="brand" href="?" aria-label="imgtag, all pictures"><img src="/page/icon.svg" alt="" width="28" height="28" /><b>imgtag</b></a>
      <${SearchBox} query=${address.query} facets=${counted.facets} onType=${onType} onSubmit=${onSubmit} />
      <nav aria-label="Views">
        <a href=${hrefOf({ view: 'gallery', object: '' })} aria-current=${gallery ? 'page' : undefined}>Gallery</a>
        <a href=${hrefOf({ view: 'dashboard', object: '' })} aria-current=${gallery ? undefined : 'page'}>Dashboard</a>
        <button type="button" class="plain" aria-label="Help" title="Help (?)" onClick=${() => setHelp(true)}>?</button>
        ${signOut && html`<button type="button" class="plain" onClick=${signOut}>Sign out</button>`}
      </nav>
    </header>
    ${gallery ? html`
      <div class=${filters ? 'views open' : 'views'}>
        <${Toolbar} ...${{ address, results, shown, names: counted.names, filters, setFilters }} say=${setMessage} />
        <aside id="filters" aria-label="Filters"><${Facets} query=${query} chips=${shown.chips} counted=${counted} error=${shown.uncounted}
          onRetry=${() => shown.countFacets()} /></aside>
        <main id="main" tabindex="-1">
          <${Found} ...${{ query, address, results, shown, selection, opened }} typing=${typed !== null} />
        </main>
      </div>
      <${Arrivals} results=${results} onShow=${() => { scrollTo({ top: 0 }); results.reload(); }} />
      <${SelectionBar} selection=${selection} results=${shown} say=${setMessage} />`
    : html`<${Dashboard} query=${address.query} />`}
    ${address.object && html`<${ObjectView} id=${address.object} hits=${shown.hits} say=${setMessage} />`}
    ${help && html`<${Help} onClose=${() => setHelp(false)} />`}
    <div class="message" role="status">${message}</div>`;
}

function Toolbar({ address, results, shown, names, filters, setFilters, say }) {
  const busy = results.total === null && !results.error;
  return html`
    <section class="toolbar" aria-label="Search">
      <h1 class="found" aria-live="polite">${shown.total === null ? (busy ? 'Searching…' : 'Pictures') : plural(shown.total, 'picture')}</h1>
      <${Chips} chips=${shown.chips} names=${names} />
      <div class="controls">
        <button type="button" class="filters-button" aria-expanded=${filters ? 'true' : 'false'} aria-controls="filters"
          onClick=${() => setFilters(!filters)}>Filters</button>
        <${ConfidenceSlider} confidence=${address.confidence} />
        <${SortMenu} sort=${address.sort} />
        <button type="button" onClick=${() => copyText(copyCommand(shownQuery(address)), say, 'Command copied')}
          title="Copy a command that copies what this query finds into folders by label">Copy as dataset</button>
      </div>
    </section>`;
}

function Found({ query, typing, address, results, shown, selection, opened }) {
  // While a query is typed it may be half a one: its errors wait until it is finished.
  const error = results.error && !(typing && results.error.position) ? results.error : null;
  if (error && !results.hits.length) {
    const retry = () => results.reload();
    return html`<${ErrorNotice} error=${error} query=${query} onRetry=${retry} />
      ${shown.hits.length > 0 && shown !== results && error.status >= 500 && html`
        <${Pictures} ...${{ results: shown, busy: true, address, selection, opened }} />`}`;
  }
  if (shown.total === null) return html`<${Loading} />`;
  if (shown.total === 0) return html`<${Empty} query=${query} results=${shown} confidence=${address.confidence} />`;
  return html`<${Pictures} ...${{ results: shown, busy: shown !== results, address, selection, opened }} />`;
}

function Pictures({ results, busy, address, selection, opened }) {
  return html`
    ${results.notes.map((note) => html`<p key=${note.word} class="quiet">Neither the model nor the index knows <b><bdi>${note.word}</bdi></b>.</p>`)}
    <${Gallery} results=${results} busy=${busy} confidence=${address.confidence} selection=${selection} opened=${opened} />
    <${MoreState} results=${results} />`;
}

// The query for a command line that finds what is shown here.
function shownQuery({ query, confidence }) {
  return confidence ? both(query, `confidence>=${confidence}`) : query;
}

// How many pictures were loaded when this entry of the history was left.
function loadedBefore() {
  return history.state?.loaded ?? 0;
}

function useLastOpened(object) {
  const last = useRef('');
  if (object) last.current = object;
  return object ? '' : last.current;
}

function useTitle({ view, object }, query) {
  const name = view === 'dashboard' ? 'Dashboard' : query;
  useEffect(() => { document.title = [name, 'imgtag'].filter(Boolean).join(' – '); }, [name, object]);
}

// A link that vanishes with its view takes the focus with it; the keyboard goes on at the new content.
function useFocus({ view, query }) {
  const first = useRef(true);
  useEffect(() => {
    const lost = !document.activeElement || document.activeElement === document.body;
    if (lost && !first.current) document.getElementById('main')?.focus({ preventScroll: true });
    first.current = false;
  }, [view, query]);
}

// A new search begins at the top; going back returns to where the page was.
function useScroll({ view, query, confidence, sort }, results) {
  const key = JSON.stringify([view, query, confidence, sort]);
  const before = useRef(null);
  const target = useRef(null);
  if (before.current !== key) {
    target.current = history.state?.scroll ?? 0;
    before.current = key;
  }
  useLayoutEffect(() => {
    if (target.current === null || (view === 'gallery' && results.total === null)) return;
    scrollWhenPossible(target.current);
    target.current = null;
  });
  useEffect(() => {
    if (results.hits.length) history.replaceState({ ...history.state, loaded: results.hits.length }, '');
  }, [results.hits.length, key]);
}

// The list has its height only after it was measured.
function scrollWhenPossible(top, tries = 20) {
  scrollTo({ top });
  if (Math.abs(scrollY - top) > 1 && tries) requestAnimationFrame(() => scrollWhenPossible(top, tries - 1));
}

function useShortcuts(openHelp) {
  useEffect(() => {
    function onKeyDown(event) {
      if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector('dialog[open]')) return;
      if (event.target.closest('input:not([type=checkbox], [type=range]), textarea, select')) return;
      if (event.key === '/') document.getElementById('search').select();
      else if (event.key === '?') openHelp();
      else return;
      event.preventDefault();
    }
    addEventListener('keydown', onKeyDown);
    return () => removeEventListener('keydown', onKeyDown);
  }, []);
}

// While the index or the sidecar is down, the page waits for it instead of the reader.
function useRetries(results) {
  const { error } = results;
  useEffect(() => {
    if (!error || results.hits.length || (error.status && error.status < 500)) return undefined;
    const timer = setTimeout(() => results.reload(), RETRY);
    return () => clearTimeout(timer);
  }, [error]);
}

followLinks();
render(html`<${App} />`, document.getElementById('app'));
