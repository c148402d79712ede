// A position on an outline of the world that is part of the page: no map server learns where pictures were taken.

import { html } from './html.js';

export function WorldMap({ lat, lng }) {
  const [x, y] = [lng + 180, 90 - lat]; // the outline has one unit for a degree
  return html`
    <svg class="map" viewBox="0 0 360 180" role="img" aria-label=${`Position ${lat}, ${lng} on a map of the world`}>
      <use href="/page/world.svg#land" class="land" />
      <path class="cross" d=${`M0 ${y}H360M${x} 0V180`} />
      <circle class="halo" cx=${x} cy=${y} r="6" /><circle class="here" cx=${x} cy=${y} r="2.5" />
    </svg>`;
}
