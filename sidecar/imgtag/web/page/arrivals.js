// Pictures that arrive while somebody looks: they are counted and offered, and nothing moves by itself.

import * as api from './api.js';
import { plural } from './format.js';
import { html, useEffect, useRef, useState } from './html.js';

const PAUSE = 1000; // ms: one look for a burst of arrivals
const RETRY = 15_000; // ms, after the server has refused the stream

export function Arrivals({ results, onShow }) {
  const [arrived, setArrived] = useState(0);
  const wanted = useRef(results);
  wanted.current = results;
  useEffect(() => setArrived(0), [results, results.total]);

  useEffect(() => {
    let source = null;
    let timer = 0;
    // Only the server can say whether they match the query, so it is asked for the new total.
    async function look() {
      timer = 0;
      const looked = wanted.current;
      if (looked.total === null) return;
      const { query, confidence } = looked.request;
      try {
        const { total } = await api.search({ q: query, confidence, limit: 0 });
        if (looked === wanted.current && looked.total !== null) setArrived(Math.max(0, total - looked.total));
      } catch {
        // The next arrival asks again.
      }
    }
    const lookSoon = () => { timer ||= setTimeout(look, PAUSE); };

    // A browser has six connections for all tabs of a server, so a tab that nobody sees gives its own back.
    function watch() {
      if (document.hidden) {
        source?.close();
        source = null;
      } else if (!source || source.readyState === EventSource.CLOSED) {
        if (source) lookSoon();
        source = new EventSource('/api/arrivals');
        source.addEventListener('arrival', lookSoon);
      }
    }
    function onVisibilityChange() {
      watch();
      if (!document.hidden) lookSoon();
    }
    watch();
    const retry = setInterval(watch, RETRY);
    document.addEventListener('visibilitychange', onVisibilityChange);
    return () => {
      clearTimeout(timer);
      clearInterval(retry);
      document.removeEventListener('visibilitychange', onVisibilityChange);
      source?.close();
    };
  }, []);

  return html`
    <div class="arrivals" role="status">
      ${arrived > 0 && html`<button type="button" onClick=${onShow}>${plural(arrived, 'new picture')} <span aria-hidden="true">↑</span></button>`}
    </div>`;
}
