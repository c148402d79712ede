// The dashboard: what is in the index, what failed, and how the sidecar does. Each number leads to its pictures.

import * as api from './api.js';
import { hrefOf, searchLink } from './address.js';
import { Bars, Cloud, Columns, Donut, byTime } from './charts.js';
import { count, displayed, percent, plural } from './format.js';
import { html, useEffect, useState } from './html.js';
import { ErrorNotice } from './notices.js';
import { both, quote, term } from './query.js';

const REFRESH = 15_000; // ms
const TOP = 12; // labels with a bar
const CLOUD = 60;
const CATEGORIES = 7; // slices; the others are one more

export function Dashboard({ query }) {
  const { data, error, retry } = useDashboard(query);
  if (!data) {
    return html`
      <main id="main" class="dashboard" tabindex="-1" aria-busy=${error ? 'false' : 'true'}>
        ${error ? html`<${ErrorNotice} error=${error} query=${query} onRetry=${retry} />` : html`<p class="quiet">Loading…</p>`}
      </main>`;
  }
  // Its numbers are of all pictures, however sure the model was.
  const find = (part) => searchLink(both(query, part), { confidence: 0 });
  const findAll = (part) => find(/status:/i.test(query) ? part : `${part} status:*`);
  return html`
    <main id="main" class="dashboard" tabindex="-1">
      <h1>Dashboard${query && html` <small>for <bdi>${query}</bdi> · <a href=${hrefOf({ query: '' })}>show everything</a></small>`}</h1>
      ${error && html`<${ErrorNotice} error=${error} onRetry=${retry} />`}
      <${Totals} data=${data} find=${find} />
      <div class="panels">
        <${Panel} title="Pictures over time" wide empty=${!data.over_time?.length && 'No picture is labelled yet.'}>
          ${() => html`<${Columns} label="Pictures over time" ...${byTime(data.over_time, (period) => findAll(`on:${period}`))} />`}
        <//>
        <${Panel} title="Categories" empty=${!filled(data.categories) && 'No picture has a category.'}>
          ${() => html`<${Donut} label="Categories" parts=${categories(data, find)} />`}
        <//>
        <${Panel} title="Top labels" empty=${!filled(data.labels) && 'No picture has a label.'}>
          ${() => html`<${Bars} label="Top labels" bars=${labels(data, find, TOP)} />`}
        <//>
        <${Panel} title="Confidence of the best label" empty=${!data.confidence?.some((bar) => bar.count) && 'No picture has a label.'}>
          ${() => html`<${Columns} label="Confidence of the best label" columns=${confidence(data.confidence, find)} ticks=${['0', '0.5', '1']} />`}
        <//>
        <${Panel} title="Failures by reason" empty=${!filled(data.failures) && 'Nothing failed or was refused.'}>
          ${() => html`<${Bars} label="Failures by reason" bars=${failures(data.failures, find)} />`}
        <//>
        <${Panel} title="All labels" wide empty=${!filled(data.labels) && 'No picture has a label.'}>
          ${() => html`<${Cloud} label="All labels" words=${labels(data, find, CLOUD)} />`}
        <//>
        <${Panel} title="Sidecar"><${Sidecar} data=${data} find=${find} /><//>
      </div>
    </main>`;
}

function useDashboard(query) {
  const [state, setState] = useState({});
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    const load = () => api.dashboard({ q: query }, controller.signal).then(
      (data) => setState({ data }),
      (error) => !controller.signal.aborted && setState((before) => ({ ...before, error })),
    );
    load();
    const timer = setInterval(() => document.visibilityState === 'visible' && load(), REFRESH);
    return () => { clearInterval(timer); controller.abort(); };
  }, [query, attempt]);
  return { ...state, retry: () => setAttempt(attempt + 1) };
}

const filled = (counts) => Object.keys(counts ?? {}).length > 0;
const ranked = (counts) => Object.entries(counts).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));

function labels(data, find, most) {
  return ranked(data.labels).slice(0, most)
    .map(([label, value]) => ({ name: displayed(data.names, label), value, href: find(term('label', label)) }));
}

function categories(data, find) {
  const rows = ranked(data.categories);
  const shown = rows.slice(0, CATEGORIES)
    .map(([category, value]) => ({ name: displayed(data.names, category), value, href: find(term('category', category)) }));
  const rest = rows.slice(CATEGORIES);
  if (!rest.length) return shown;
  const without = rows.slice(0, CATEGORIES).map(([category]) => `-${term('category', category)}`).join(' ');
  const value = rest.reduce((sum, [, number]) => sum + number, 0);
  return [...shown, { name: 'other', value, href: find(`category:* ${without}`) }];
}

function confidence(bars, find) {
  return bars.map(({ from, to, count: value }) => ({
    name: `${from.toFixed(2)} to ${to.toFixed(2)}`,
    value,
    href: find(`confidence>=${from} confidence${to >= 1 ? '<=' : '<'}${to}`),
  }));
}

function failures(counts, find) {
  return ranked(counts).map(([code, value]) => ({ name: code, value, href: find(`status:* code:${quote(code)}`) }));
}

function Totals({ data, find }) {
  const totals = data.totals ?? {};
  return html`
    <ul class="totals">
      <${Total} name="Labelled" value=${totals.labelled} href=${find('status:labelled')} />
      <${Total} name="No label" value=${totals.unlabelled} href=${find('status:unlabelled')} />
      <${Total} name="Refused" value=${totals.refused} href=${find('status:refused')} tone=${totals.refused ? 'warn' : ''} />
      <${Total} name="Failed" value=${totals.failed} href=${find('status:failed')} tone=${totals.failed ? 'bad' : ''} />
      <${Total} name="Labelled, not written" value=${totals.not_written} href=${find('code:*')} tone=${totals.not_written ? 'warn' : ''} />
      <${Total} name="Stale" value=${data.stale} href=${data.model && find(`-model:"${data.model.name}@${data.model.digest.slice(0, 8)}"*`)} />
    </ul>`;
}

function Total({ name, value, href, tone = '' }) {
  if (value === undefined || value === null) return null;
  return html`<li class=${tone}><a href=${href || undefined}><b>${count(value)}</b><span>${name}</span></a></li>`;
}

function Panel({ title, wide = false, empty = '', children }) {
  return html`
    <section class=${wide ? 'panel wide' : 'panel'} aria-label=${title}>
      <h2>${title}</h2>
      ${empty ? html`<p class="quiet">${empty}</p>` : typeof children === 'function' ? children() : children}
    </section>`;
}

function Sidecar({ data }) {
  const { model } = data;
  return html`
    <dl>
      <div><dt>Store</dt><dd><${State} part=${data.store} /></dd></div>
      <div><dt>Index</dt><dd><${State} part=${data.index} /></dd></div>
      ${data.backlog !== undefined && data.backlog !== null && html`
        <div><dt>Backlog</dt><dd>${data.backlog ? plural(data.backlog, 'object') : 'empty'}</dd></div>`}
      ${data.throughput !== undefined && data.throughput !== null && html`
        <div><dt>Throughput</dt><dd>${data.throughput.toFixed(data.throughput < 10 ? 1 : 0)} pictures a second</dd></div>`}
      ${model && html`
        <div><dt>Model</dt><dd><bdi>${model.name}</bdi> ${model.digest && html`<code>${model.digest.slice(0, 8)}</code>`}</dd></div>`}
      ${data.stale !== undefined && data.stale !== null && html`
        <div><dt>Stale</dt><dd>${data.stale
          ? `${plural(data.stale, 'picture')} of another model, ${percent(data.stale / data.totals.labelled)}`
          : 'none'}</dd></div>`}
    </dl>`;
}

function State({ part }) {
  if (!part) return html`<span class="quiet">unknown</span>`;
  return part.ok ? html`<span class="state good">working</span>`
    : html`<span class="state bad">down</span>${part.reason && html` <bdi>${part.reason}</bdi>`}`;
}
