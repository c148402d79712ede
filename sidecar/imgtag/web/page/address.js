// The address of the page is its state: what is searched, how it is sorted, and which object is open. So every view
// can be bookmarked and shared, and the browser's own buttons work.

import { useEffect, useReducer } from './html.js';

export const DEFAULT_CONFIDENCE = 0.2;

const listeners = new Set();
let held = false;

export function readAddress() {
  const params = new URLSearchParams(location.search);
  const confidence = params.has('confidence') ? Number(params.get('confidence')) : DEFAULT_CONFIDENCE;
  return {
    view: params.get('view') === 'dashboard' ? 'dashboard' : 'gallery',
    query: params.get('q') ?? '',
    confidence: confidence >= 0 && confidence <= 1 ? confidence : DEFAULT_CONFIDENCE,
    sort: params.get('sort') ?? '',
    object: params.get('object') ?? '',
  };
}

// The link to a place like `address`, which defaults to the current one, with some of its parts changed.
export function hrefOf(changes, address = readAddress()) {
  const { view, query, confidence, sort, object } = { ...address, ...changes };
  const params = new URLSearchParams();
  if (view !== 'gallery') params.set('view', view);
  if (query) params.set('q', query);
  if (confidence !== DEFAULT_CONFIDENCE) params.set('confidence', String(confidence));
  if (sort) params.set('sort', sort);
  if (object) params.set('object', object);
  return `?${params}`;
}

// The link to all pictures of a query.
export function searchLink(query, more = {}) {
  return hrefOf({ view: 'gallery', query, sort: '', object: '', ...more });
}

export function go(changes, { replace = false } = {}) {
  navigate(hrefOf(changes), { replace });
}

export function navigate(href, { replace = false } = {}) {
  remember();
  held = false;
  if (replace || href === (location.search || '?')) history.replaceState({ ...history.state }, '', href);
  else history.pushState({ objects: new URLSearchParams(href).has('object') ? objectsOpened() + 1 : 0 }, '', href);
  for (const listener of listeners) listener();
}

// How many entries of the history lie between this one and the list from which an object was opened.
function objectsOpened() {
  return history.state?.objects ?? 0;
}

// Leave the object view, for the list as it was.
export function closeObject() {
  if (objectsOpened()) history.go(-objectsOpened());
  else go({ object: '' }, { replace: true });
}

// Keep with the current entry of the history how far it is scrolled. The browser's own restoration comes before the
// pictures do.
export function remember() {
  if (!held) history.replaceState({ ...history.state, scroll: Math.round(scrollY) }, '');
}

// While results follow somebody who types, this entry keeps the place that it had before.
export function holdPlace() {
  remember();
  held = true;
}

export function releasePlace() {
  held = false;
}

export function useAddress() {
  const [, refresh] = useReducer((count) => count + 1, 0);
  useEffect(() => {
    listeners.add(refresh);
    addEventListener('popstate', refresh);
    addEventListener('popstate', releasePlace);
    return () => {
      listeners.delete(refresh);
      removeEventListener('popstate', refresh);
      removeEventListener('popstate', releasePlace);
    };
  }, []);
  return readAddress();
}

// Links within the page, also those of charts, change the address without loading the page again.
export function followLinks() {
  history.scrollRestoration = 'manual';
  let timer = 0;
  addEventListener('scroll', () => {
    clearTimeout(timer);
    timer = setTimeout(remember, 150);
  }, { passive: true });
  addEventListener('pagehide', remember);
  document.addEventListener('click', (event) => {
    const wantsOther = event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
    const link = event.target.closest?.('a[href^="?"]');
    if (!link || wantsOther || event.defaultPrevented || link.getAttribute('target')) return;
    event.preventDefault();
    navigate(link.getAttribute('href'));
  });
}
