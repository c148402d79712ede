// The pictures of a search. Only the rows near the window are in the document, however many pictures there are.

import { hrefOf } from './address.js';
import * as api from './api.js';
import { displayed, nameOf, percent, plural } from './format.js';
import { html, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from './html.js';
import { layOut, neighbour } from './layout.js';

const ROW = 220; // px, the greatest height of a row
const NARROW_ROW = 150; // on a phone
const AHEAD = 1.5; // windows above and below that are rendered, and before whose end the next hits are loaded
const SIZES = [160, 240, 320, 480, 640, 960]; // px of thumbnails; few sizes, so that caches have them
const LABELS = 3; // chips of a picture

export function Gallery({ results, busy, confidence, selection, opened }) {
  const { hits, complete } = results;
  const list = useRef(null);
  const width = useWidth(list);
  const target = width < 600 ? NARROW_ROW : ROW;
  const { rows, height } = useMemo(() => layOut(hits, width, target, complete), [hits, width, target, complete]);
  const view = useWindow(list, height);
  const [current, setCurrent] = useState(0);
  const wantsFocus = useRef(false);
  const anchor = useRef(0); // where a range begins

  useEffect(() => {
    if (width && view.bottom > height - AHEAD * innerHeight && !complete && !results.error) results.load();
  }, [view, height, complete, hits]);

  // The picture that was open last is where the keyboard goes on.
  useEffect(() => {
    const index = hits.findIndex((hit) => hit.id === opened);
    if (index < 0) return;
    setCurrent(index);
    reveal(index);
    wantsFocus.current = !focus(index);
  }, [opened]);

  useLayoutEffect(() => {
    if (wantsFocus.current) wantsFocus.current = !focus(current);
  });

  // Whether the picture is in the document, so that it can have the focus.
  function focus(index) {
    const tile = list.current.querySelector(`[data-index="${index}"]`);
    tile?.focus({ preventScroll: true });
    return Boolean(tile);
  }

  function reveal(index) {
    const row = rows.find(({ tiles }) => tiles.some((tile) => tile.index === index));
    if (!row) return;
    const top = list.current.getBoundingClientRect().top + row.top;
    const header = document.querySelector('.header').offsetHeight + 8;
    if (top < header) scrollBy({ top: top - header });
    else if (top + row.height > innerHeight - 8) scrollBy({ top: top + row.height - innerHeight + 8 });
  }

  function move(index, event) {
    const next = Math.max(0, Math.min(hits.length - 1, index));
    if (event.shiftKey) selection.extend(hits, current, next);
    else anchor.current = next;
    wantsFocus.current = true;
    setCurrent(next);
    reveal(next);
  }

  function select(index, isRange) {
    if (isRange) selection.extend(hits, anchor.current, index);
    else selection.toggle(hits, index);
    anchor.current = index;
  }

  function onKeyDown(event) {
    if (event.key === 'ArrowRight') move(current + 1, event);
    else if (event.key === 'ArrowLeft') move(current - 1, event);
    else if (event.key === 'ArrowDown') move(neighbour(rows, current, 1), event);
    else if (event.key === 'ArrowUp') move(neighbour(rows, current, -1), event);
    else if (event.key === 'Home') move(0, event);
    else if (event.key === 'End') move(hits.length - 1, event);
    else if (event.key === ' ' && event.target.matches('a')) select(current, false);
    else if (event.key.toLowerCase() === 'a' && (event.ctrlKey || event.metaKey)) selection.all(hits);
    else if (event.key === 'Escape' && selection.size) selection.clear();
    else return;
    event.preventDefault();
  }

  const shown = rows.filter((row) => row.top + row.height > view.top && row.top < view.bottom);
  const focusable = shown.some(({ tiles }) => tiles.some(({ index }) => index === current))
    ? current : shown[0]?.tiles[0].index;
  return html`
    <ul ref=${list} class=${busy ? 'gallery busy' : 'gallery'} style=${{ height: `${height}px` }} aria-label="Pictures"
      aria-busy=${busy ? 'true' : 'false'} onKeyDown=${onKeyDown}>
      ${shown.flatMap((row) => row.tiles.map((tile) => html`
        <${Tile} key=${hits[tile.index].id} hit=${hits[tile.index]} index=${tile.index} total=${results.total}
          left=${tile.left} top=${row.top} width=${tile.width} height=${row.height} confidence=${confidence}
          focusable=${tile.index === focusable} onFocus=${() => setCurrent(tile.index)} selecting=${selection.size > 0}
          selected=${selection.has(hits[tile.index].id)}
          onSelect=${(isRange) => select(tile.index, isRange)} />`))}
    </ul>`;
}

function Tile({
  hit, index, total, left, top, width, height, confidence, focusable, onFocus, selecting, selected, onSelect,
}) {
  const box = { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` };
  const name = nameOf(hit.key);
  const labels = shownLabels(hit, confidence);

  // Once something is selected, a click goes on selecting, and so does one with shift.
  function onClick(event) {
    if (event.ctrlKey || event.metaKey || (!selecting && !event.shiftKey)) return;
    event.preventDefault();
    onSelect(event.shiftKey);
  }

  const what = hit.reason && hit.status !== 'labelled' ? `${hit.status}: ${hit.reason}`
    : labels.map(([label, value]) => `${displayed(hit.names, label)} ${percent(value)}`).join(', ') || 'no label';
  return html`
    <li class=${selected ? 'tile selected' : 'tile'} style=${box} aria-setsize=${total} aria-posinset=${index + 1}>
      <a href=${hrefOf({ object: hit.id })} data-index=${index} tabindex=${focusable ? 0 : -1} onFocus=${onFocus}
        onClick=${onClick} aria-label=${`${name}; ${what}`} title=${`${hit.bucket}/${hit.key}`}>
        <${Thumbnail} hit=${hit} width=${width} height=${height} />
        <span class="caption">
          ${labels.length > 0 && html`<span class="labels">${labels.map(([label, value]) => html`
            <span class="label" key=${label}><bdi>${displayed(hit.names, label)}</bdi> <small>${percent(value)}</small></span>`)}</span>`}
        </span>
      </a>
      <input type="checkbox" tabindex=${focusable ? 0 : -1} checked=${selected} aria-label=${`Select ${name}`}
        onClick=${(event) => onSelect(event.shiftKey)} />
    </li>`;
}

// The labels of a picture that are at least this certain, [[label, confidence]].
function shownLabels(hit, confidence) {
  return Object.entries(hit.labels ?? {}).filter(([, value]) => value >= confidence).slice(0, LABELS);
}

// A picture in at least these CSS pixels; what cannot be shown says why.
export function Thumbnail({ hit, width, height }) {
  const [broken, setBroken] = useState(false);
  const onError = useCallback(() => setBroken(true), []);
  if (broken || hit.status === 'failed' || hit.status === 'refused') return html`<${Missing} hit=${hit} />`;
  // The thumbnail fits into a square, so its longer side decides.
  const shape = hit.width && hit.height ? hit.width / hit.height : 1;
  const side = shape >= 1 ? Math.max(width, height * shape) : Math.max(height, width / shape);
  const size = (factor) => SIZES.find((pixels) => pixels >= Math.round(side * factor)) ?? SIZES.at(-1);
  return html`
    <img src=${api.thumbnail(hit.id, size(1))} srcset=${`${api.thumbnail(hit.id, size(1))} 1x, ${api.thumbnail(hit.id, size(2))} 2x`}
      alt="" loading="lazy" decoding="async" onError=${onError} />`;
}

function Missing({ hit }) {
  const title = { failed: 'Failed', refused: 'Refused' }[hit.status] ?? 'No preview';
  return html`
    <span class=${`missing ${hit.status}`}>
      <bdi class="name">${nameOf(hit.key)}</bdi>
      <b>${title}</b>${hit.code && html`<code>${hit.code}</code>`}
      ${hit.reason && html`<small>${hit.reason}</small>`}
    </span>`;
}

export function Loading() {
  return html`<div class="loading" aria-hidden="true">${[...Array(12).keys()].map((place) => html`<i key=${place}></i>`)}</div>`;
}

export function MoreState({ results }) {
  if (results.error && results.hits.length) {
    return html`<p class="more-state">The next pictures could not be loaded: ${results.error.message}
      <button type="button" onClick=${() => results.load()}>Try again</button></p>`;
  }
  if (results.loading) return html`<p class="more-state">Loading more…</p>`;
  return results.complete && results.total > 20 && html`<p class="more-state">All ${plural(results.total, 'picture')} shown.</p>`;
}

function useWidth(element) {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const measure = () => setWidth(element.current?.clientWidth ?? 0);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

// The part of the list that is rendered, in steps so that not every pixel of scrolling renders again.
function useWindow(element, height) {
  const [view, setView] = useState({ top: 0, bottom: 2 * innerHeight });
  const measure = useCallback(() => {
    if (!element.current) return;
    const offset = -element.current.getBoundingClientRect().top;
    const step = 200;
    const top = Math.floor((offset - AHEAD * innerHeight) / step) * step;
    const bottom = Math.ceil((offset + (1 + AHEAD) * innerHeight) / step) * step;
    setView((before) => (before.top === top && before.bottom === bottom ? before : { top, bottom }));
  }, []);
  useLayoutEffect(measure, [height]);
  useEffect(() => {
    addEventListener('scroll', measure, { passive: true });
    addEventListener('resize', measure);
    return () => {
      removeEventListener('scroll', measure);
      removeEventListener('resize', measure);
    };
  }, []);
  return view;
}
