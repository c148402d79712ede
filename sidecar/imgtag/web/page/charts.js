// Charts as plain SVG and lists. Every element is a link to the pictures that it counts.

import { count, day, month, percent, plural } from './format.js';
import { html } from './html.js';

const [WIDTH, HEIGHT] = [640, 180]; // of column charts, in units of their own

// [{name, value, href}] as columns; `ticks` are names that are written below.
export function Columns({ label, columns, ticks }) {
  const most = Math.max(1, ...columns.map(({ value }) => value));
  const step = WIDTH / Math.max(1, columns.length);
  const gap = Math.min(4, step / 5);
  return html`
    <figure class="chart">
      <svg class="columns" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="group" aria-label=${label}>
        <path class="grid" d=${`M0 ${HEIGHT}H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 .5H${WIDTH}`} />
        ${columns.map(({ name, value, href }, place) => {
          const height = value ? Math.max(3, (value / most) * HEIGHT) : 0;
          return html`
            <a key=${href} href=${href} aria-label=${`${name}: ${plural(value, 'picture')}`}>
              <title>${`${name}: ${plural(value, 'picture')}`}</title>
              <rect class="hit" x=${place * step} y="0" width=${step} height=${HEIGHT} />
              <rect class="bar" x=${place * step + gap / 2} y=${HEIGHT - height} width=${step - gap} height=${height} rx="2" />
            </a>`;
        })}
      </svg>
      <span class="most" aria-hidden="true">${count(most)}</span>
      <figcaption aria-hidden="true">${ticks.map((tick) => html`<span key=${tick}>${tick}</span>`)}</figcaption>
    </figure>`;
}

// Days as columns: as they are for a season, else by month. Days without pictures keep their place.
export function byTime(days, linkOf) {
  const first = Date.parse(days[0].day);
  const last = Date.parse(days.at(-1).day);
  const daily = (last - first) / 86_400_000 < 92;
  const sums = new Map();
  for (const point of days) {
    const period = daily ? point.day : point.day.slice(0, 7);
    sums.set(period, (sums.get(period) ?? 0) + point.count);
  }
  const periods = [];
  for (let time = new Date(first); time.getTime() <= last || periods.length === 0;) {
    periods.push(time.toISOString().slice(0, daily ? 10 : 7));
    if (daily) time.setUTCDate(time.getUTCDate() + 1);
    else time = new Date(Date.UTC(time.getUTCFullYear(), time.getUTCMonth() + 1, 1));
    if (periods.length > 2000) break; // a wrong clock in a camera
  }
  const name = (period) => (daily ? day(Date.parse(period) / 1000) : month(period));
  return {
    columns: periods.map((period) => ({ name: name(period), value: sums.get(period) ?? 0, href: linkOf(period) })),
    ticks: periods.length > 1 ? [name(periods[0]), name(periods.at(-1))] : [name(periods[0])],
  };
}

export function Bars({ label, bars }) {
  const most = Math.max(1, ...bars.map(({ value }) => value));
  return html`
    <ul class="bars" aria-label=${label}>
      ${bars.map(({ name, value, href }) => html`
        <li key=${href}><a href=${href}>
          <span class="name"><bdi>${name}</bdi></span><span class="count">${count(value)}</span>
          <span class="share" aria-hidden="true" style=${{ width: `${(100 * value) / most}%` }}></span>
        </a></li>`)}
    </ul>`;
}

export function Donut({ label, parts }) {
  const total = parts.reduce((sum, { value }) => sum + value, 0);
  let turned = 0;
  const slices = parts.map((part, place) => {
    const [from, to] = [turned / total, (turned += part.value) / total];
    return { ...part, place, path: arc(from, to) };
  });
  return html`
    <div class="donut">
      <svg viewBox="-50 -50 100 100" role="group" aria-label=${label}>
        ${slices.map(({ name, value, href, place, path }) => html`
          <a key=${href} href=${href} aria-label=${`${name}: ${count(value)}, ${percent(value / total)}`}>
            <title>${`${name}: ${count(value)}`}</title>
            <path d=${path} class=${`slice tone-${place % 8}`} />
          </a>`)}
        <text class="sum" y="2" aria-hidden="true">${count(total)}</text>
        <text class="unit" y="12" aria-hidden="true">${total === 1 ? 'picture' : 'pictures'}</text>
      </svg>
      <ul>${slices.map(({ name, value, href, place }) => html`
        <li key=${href}><a href=${href}><i class=${`dot tone-${place % 8}`} aria-hidden="true"></i><span class="name"><bdi>${name}</bdi></span>
          <span class="count">${percent(value / total)}</span></a></li>`)}</ul>
    </div>`;
}

// A ring segment between two fractions of a turn, from the top clockwise.
function arc(from, to) {
  const [outer, inner] = [48, 30];
  const point = (radius, turn) => `${(radius * Math.sin(2 * Math.PI * turn)).toFixed(3)} ${(-radius * Math.cos(2 * Math.PI * turn)).toFixed(3)}`;
  const end = to - from >= 1 ? from + 0.9999 : to; // a whole circle would be none
  const large = end - from > 0.5 ? 1 : 0;
  return `M${point(outer, from)}A${outer} ${outer} 0 ${large} 1 ${point(outer, end)}`
    + `L${point(inner, end)}A${inner} ${inner} 0 ${large} 0 ${point(inner, from)}Z`;
}

// Words in alphabetical order, the larger the more pictures they have.
export function Cloud({ label, words }) {
  const most = Math.max(1, ...words.map(({ value }) => value));
  const sorted = [...words].sort((a, b) => (a.name < b.name ? -1 : 1));
  return html`
    <ul class="cloud" aria-label=${label}>
      ${sorted.map(({ name, value, href }) => html`
        <li key=${href} style=${{ fontSize: `${(0.8 + 1.2 * Math.sqrt(value / most)).toFixed(2)}rem` }}>
          <a href=${href} title=${plural(value, 'picture')}><bdi>${name}</bdi><span class="hidden">, ${plural(value, 'picture')}</span></a>
        </li>`)}
    </ul>`;
}
