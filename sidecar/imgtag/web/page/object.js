// One object: its picture, everything that is known of it, where that comes from, and what looks like it.

import { closeObject, go, hrefOf, searchLink } from './address.js';
import * as api from './api.js';
import { bytes, count, displayed, moment, nameOf, percent, place } from './format.js';
import { Thumbnail } from './gallery.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from './html.js';
import { WorldMap } from './map.js';
import { ErrorNotice } from './notices.js';
import { quote, term } from './query.js';
import { copyText } from './selection.js';

const SIMILAR = 12;
const [SMALL, PREVIEW] = [320, 1280]; // px

export function ObjectView({ id, hits, say }) {
  const [loaded, setLoaded] = useState({});
  const dialog = useRef(null);
  const index = hits.findIndex((hit) => hit.id === id);
  const known = hits[index];

  useEffect(() => {
    const controller = new AbortController();
    api.object(id, controller.signal).then(
      (object) => setLoaded({ id, object }),
      (error) => !controller.signal.aborted && setLoaded({ id, error }),
    );
    return () => controller.abort();
  }, [id]);
  useLayoutEffect(() => {
    dialog.current.showModal();
    return () => dialog.current?.close();
  }, []);
  useEffect(() => { dialog.current.scrollTop = 0; }, [id]);

  function show(step) {
    // One step back leaves the object view, however many pictures were looked at.
    if (hits[index + step]) go({ object: hits[index + step].id }, { replace: true });
  }

  function onKeyDown(event) {
    if (event.target.matches('input, textarea') || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === 'ArrowRight' && index >= 0) show(1);
    else if (event.key === 'ArrowLeft' && index > 0) show(-1);
    else return;
    event.preventDefault();
  }

  const object = loaded.id === id ? loaded.object : undefined;
  const error = loaded.id === id ? loaded.error : undefined;
  const shown = object ?? known;
  return html`
    <dialog ref=${dialog} class="object" aria-labelledby="object-name" onKeyDown=${onKeyDown}
      onCancel=${(event) => { event.preventDefault(); closeObject(); }}
      onClick=${(event) => event.target === dialog.current && closeObject()}>
      <article>
        <header>
          <h2 id="object-name"><bdi>${shown ? nameOf(shown.key) : 'Object'}</bdi></h2>
          <div class="buttons">
            <button type="button" class="plain" disabled=${index <= 0} onClick=${() => show(-1)}
              aria-label="Previous picture">‹</button>
            <button type="button" class="plain" disabled=${index < 0 || index >= hits.length - 1} onClick=${() => show(1)}
              aria-label="Next picture">›</button>
            <button type="button" class="plain" onClick=${closeObject} aria-label="Close">×</button>
          </div>
        </header>
        <div class="picture">${shown && html`<${Picture} key=${id} object=${shown} />`}</div>
        <div class="facts">
          ${error && html`<${ErrorNotice} error=${error} />`}
          ${object && html`<${Facts} object=${object} say=${say} />`}
          ${!object && !error && html`<p class="quiet">Loading…</p>`}
        </div>
        ${object?.status === 'labelled' || object?.status === 'unlabelled' ? html`<${Similar} key=${id} id=${id} />` : null}
      </article>
    </dialog>`;
}

// The thumbnail that the gallery has already, until the larger one is there.
function Picture({ object }) {
  const [source, setSource] = useState(api.thumbnail(object.id, SMALL));
  const [broken, setBroken] = useState(object.status === 'failed' || object.status === 'refused');
  const [showsPlaces, setShowsPlaces] = useState(true);
  useEffect(() => {
    if (broken) return undefined;
    const image = new Image();
    image.fetchPriority = 'high';
    image.onload = () => setSource(image.src);
    image.src = api.thumbnail(object.id, PREVIEW);
    return () => { image.onload = null; };
  }, []);
  if (broken) return html`<${Thumbnail} hit=${object} width=${320} height=${240} />`;
  return html`
    <div class="frame">
      <img src=${source} alt=${Object.keys(object.labels ?? {}).map((label) => displayed(object.names, label)).join(', ') || nameOf(object.key)}
        width=${object.width} height=${object.height} onError=${() => setBroken(true)} />
      ${showsPlaces && object.boxes && html`<${Places} object=${object} />`}
      ${object.boxes && html`<button type="button" aria-pressed=${showsPlaces ? 'true' : 'false'} onClick=${() => setShowsPlaces(!showsPlaces)}>Places</button>`}
    </div>`;
}

// Where the labels are. Fits over the picture as `object-fit: contain` fits the picture; "Located" says it in words.
function Places({ object: { boxes, names, width, height } }) {
  const size = Math.max(width, height) / 36;
  return html`
    <svg class="places" viewBox=${`0 0 ${width} ${height}`} aria-hidden="true" font-size=${size}>${boxes.map((box) => html`
      <rect x=${box.left * width} y=${box.top * height} width=${box.width * width} height=${box.height * height} />
      <text x=${box.left * width + size / 4} y=${box.top * height + size}>${displayed(names, box.label)}</text>`)}</svg>`;
}

// How many places of each label the model gave: "car 2, dog 1".
function countPlaces({ boxes, names }) {
  const counts = new Map();
  for (const { label } of boxes) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].map(([label, number]) => `${displayed(names, label)} ${count(number)}`).join(', ');
}

function Facts({ object, say }) {
  const position = object._geo;
  const bucket = term('bucket', object.bucket);
  const folder = object.key.slice(0, object.key.lastIndexOf('/') + 1);
  const link = (text, query) => html`<a href=${searchLink(query)}><bdi>${text}</bdi></a>`;
  return html`
    ${(object.reason || object.code) && html`
      <div class=${`notice ${object.status}`}>
        <p><b>${{ failed: 'Failed', refused: 'Refused' }[object.status] ?? 'Not written on the object'}</b>${' '}
          ${object.code && html`<a href=${searchLink(`status:* ${term('code', object.code)}`)}><code>${object.code}</code></a>`}</p>
        ${object.reason && html`<p>${object.reason}</p>`}
      </div>`}
    <${Labels} object=${object} />
    <section>
      <h3>Location</h3>
      <p class="location"><code>${object.location ?? `${object.bucket}/${object.key}`}</code></p>
      <p class="buttons">
        <button type="button" onClick=${() => copyText(object.location ?? `${object.bucket}/${object.key}`, say, 'Location copied')}>Copy location</button>
        <a class="button" href=${api.original(object.id)} target="_blank" rel="noopener">Open original</a>
      </p>
    </section>
    <section>
      <h3>Picture</h3>
      <${Table} rows=${[
        ['Bucket', link(object.bucket, bucket)],
        ['Folder', folder && link(folder, `${bucket} ${term('prefix', folder)}`)],
        ['Site', object.site],
        ['Taken', object.taken && moment(object.taken)],
        ['Modified', object.modified && moment(object.modified)],
        ['Camera', object.camera && link(object.camera, term('camera', object.camera))],
        ['Dimensions', object.width && `${count(object.width)} × ${count(object.height)} px`],
        ['Size', object.size !== undefined && bytes(object.size)],
        ['Type', object.type],
        ['Category', object.category && link(displayed(object.names, object.category), term('category', object.category))],
        ['Located', object.boxes && countPlaces(object)],
        ...Object.entries(object.meta ?? {}).map(([name, value]) => [name, String(value)]),
      ]} />
    </section>
    ${position && html`
      <section>
        <h3>Position</h3>
        <${WorldMap} lat=${position.lat} lng=${position.lng} />
        <p>${place(position)} · <a href=${searchLink(`near:${position.lat},${position.lng},10km`)}>within 10 km</a></p>
      </section>`}
    <${Provenance} object=${object} />`;
}

function Labels({ object }) {
  const own = Object.entries(object.labels ?? {});
  const ancestors = object.ancestors ?? [];
  if (!own.length && !ancestors.length) {
    return object.status === 'unlabelled'
      ? html`<section><h3>Labels</h3><p class="quiet">The model was not sure enough of any label.</p></section>` : null;
  }
  return html`
    <section>
      <h3>Labels</h3>
      <ul class="bars">${own.map(([label, value]) => html`<${Bar} key=${label} name=${displayed(object.names, label)} value=${value} href=${searchLink(term('label', label))} />`)}</ul>
      ${ancestors.length > 0 && html`
        <h4>Broader terms</h4>
        <ul class="kinds">${ancestors.map((name) => html`
          <li key=${name}><a class="label" href=${searchLink(quote(name))}><bdi>${displayed(object.names, name)}</bdi></a></li>`)}</ul>`}
    </section>`;
}

function Bar({ name, value, href }) {
  return html`
    <li><a href=${href}>
      <span class="name"><bdi>${name}</bdi></span><span class="count">${percent(value)}</span>
      <span class="share" aria-hidden="true" style=${{ width: `${100 * value}%` }}></span>
    </a></li>`;
}

const ORIGIN = {
  model: 'Model', model_digest: 'Model digest', rules: 'Rules', time: 'Labelled', content: 'Content', etag: 'ETag',
};

function Provenance({ object }) {
  const rows = Object.entries(object.provenance ?? {})
    .map(([name, value]) => [ORIGIN[name] ?? name, name === 'time' && value ? moment(value) : String(value ?? '')]);
  return html`
    <section>
      <h3>Origin of the labels</h3>
      <${Table} rows=${rows} />
    </section>`;
}

function Table({ rows }) {
  return html`
    <dl>${rows.filter(([, value]) => value !== undefined && value !== '' && value !== false && value !== null).map(([name, value]) => html`
      <div key=${name}><dt><bdi>${name}</bdi></dt><dd>${value}</dd></div>`)}</dl>`;
}

function Similar({ id }) {
  const [found, setFound] = useState({ hits: null });
  useEffect(() => {
    const controller = new AbortController();
    api.similar({ id, limit: SIMILAR }, controller.signal).then(
      setFound, (error) => !controller.signal.aborted && setFound({ hits: [], error }),
    );
    return () => controller.abort();
  }, [id]);
  return html`
    <section class="similar">
      <h3>Similar pictures</h3>
      ${found.error && html`<p class="quiet">${found.error.message}</p>`}
      ${found.hits?.length === 0 && !found.error && html`<p class="quiet">Nothing else is in the index.</p>`}
      <ul aria-busy=${found.hits ? 'false' : 'true'}>${(found.hits ?? []).map((hit) => html`
        <li key=${hit.id}>
          <a href=${hrefOf({ object: hit.id })} aria-label=${`${nameOf(hit.key)}, similarity ${percent(hit.similarity)}`} title=${`${hit.bucket}/${hit.key}`}>
            <${Thumbnail} hit=${hit} width=${150} height=${110} /><small>${percent(hit.similarity)}</small>
          </a>
        </li>`)}</ul>
    </section>`;
}
