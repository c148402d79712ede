// What a search found so far. Results stay in memory for a while, so that going back shows the same pictures in the
// same place without asking the server.

import * as api from './api.js';
import { useEffect, useReducer, useRef } from './html.js';

export const PAGE = 60;
const MAX_AT_ONCE = 200; // hits of one request
const MAX_KEPT = 12; // searches
const FACETS = ['category', 'labels', 'bucket', 'type', 'status', 'when_month'];

const kept = new Map();

class Results {
  constructor(request) {
    this.request = request;
    this.listeners = new Set();
    this.clear();
  }

  clear() {
    this.hits = [];
    this.offset = 0;
    this.total = null;
    this.facets = {};
    this.names = {};
    this.counted = false; // whether the facets are there
    this.uncounted = null; // why they are not
    this.chips = [];
    this.notes = [];
    this.near = [];
    this.error = null;
    this.loading = false;
    this.complete = false;
    this.outdated = false;
  }

  // Load `count` more hits: a page, or as many as a reloaded page showed before.
  async load(count = PAGE) {
    if (this.loading || this.complete) return;
    this.loading = true;
    this.error = null;
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.changed();
    try {
      for (const end = this.offset + count; this.offset < end && !this.complete;) {
        await this.loadPage(Math.min(end - this.offset, MAX_AT_ONCE), signal);
      }
    } catch (failure) {
      if (signal.aborted) return;
      this.error = failure;
    }
    this.loading = false;
    this.changed();
  }

  async loadPage(limit, signal) {
    const { query, confidence, sort } = this.request;
    const first = this.total === null || this.outdated;
    const { offset } = this;
    const page = await api.search({ q: query, confidence, sort, limit, offset }, signal);
    const gone = first ? 0 : Math.max(0, this.total - page.total);
    this.take(page, first);
    if (first) this.countFacets();
    // Pictures that were deleted meanwhile pulled others over the edge of the page before: it is asked for once more.
    if (gone) {
      this.offset = Math.max(0, offset - gone);
      this.complete = this.offset >= page.total;
    }
  }

  take(page, first) {
    if (first) this.hits = [];
    this.outdated = false;
    // Pictures that arrive meanwhile shift the next page, so that a hit may come twice.
    const known = new Set(this.hits.map((hit) => hit.id));
    this.hits = [...this.hits, ...page.hits.filter((hit) => !known.has(hit.id))];
    this.offset += page.hits.length;
    this.total = page.total;
    this.complete = !page.hits.length || this.offset >= page.total;
    if (!first) return;
    this.chips = page.query?.chips ?? [];
    this.notes = page.notes ?? [];
    this.near = page.near ?? [];
  }

  // In a large index, counting takes longer than finding the first pictures, which do not wait for it.
  async countFacets() {
    this.counting?.abort();
    this.counting = new AbortController();
    const { signal } = this.counting;
    const { query, confidence } = this.request;
    try {
      const answer = await api.facets({ q: query, confidence, fields: FACETS.join(','), alternatives: true }, signal);
      if (signal.aborted) return;
      this.facets = answer.facets;
      this.names = answer.names;
      this.counted = true;
      this.uncounted = null;
    } catch (failure) {
      if (signal.aborted) return;
      this.uncounted = failure;
    }
    this.changed();
  }

  // Nobody waits for the first page any more: while somebody types, only the newest question matters.
  abandon() {
    if (this.total !== null || !this.loading) return;
    this.abort.abort();
    this.loading = false;
  }

  // Search again from the beginning. What is shown stays until the answer is there.
  reload() {
    this.abort?.abort();
    this.loading = false;
    this.complete = false;
    this.outdated = true;
    this.offset = 0;
    return this.load();
  }

  changed() {
    for (const listener of this.listeners) listener();
  }
}

function resultsOf(request) {
  const key = JSON.stringify([request.query, request.confidence, request.sort]);
  const results = kept.get(key) ?? new Results(request);
  kept.delete(key);
  if (results.error) results.clear();
  kept.set(key, results); // the newest is last
  if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value);
  return results;
}

export function forgetResults() {
  kept.clear();
}

// The results of a search, and what to show until they are there: those of the search before, and its facets until new
// ones are counted.
export function useResults({ query, confidence, sort }, wanted) {
  const [, refresh] = useReducer((count) => count + 1, 0);
  const current = useRef(null);
  const before = useRef(null);
  const counted = useRef(null);
  const key = JSON.stringify([query, confidence, sort]);
  if (current.current?.key !== key) {
    if (current.current?.results.total != null) before.current = current.current.results;
    current.current = { key, results: resultsOf({ query, confidence, sort }) };
  }
  const { results } = current.current;
  useEffect(() => {
    results.listeners.add(refresh);
    if (results.total === null) results.load(Math.max(PAGE, wanted));
    return () => {
      results.listeners.delete(refresh);
      results.abandon();
    };
  }, [results]);
  const shown = results.total === null && before.current ? before.current : results;
  if (shown.counted || !counted.current) counted.current = shown;
  return { results, shown, counted: counted.current };
}
