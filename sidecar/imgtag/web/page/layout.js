// Where each picture of the gallery stands: rows of equal height that fill the width, each picture in its own shape.

export const GAP = 6; // px
const [NARROWEST, WIDEST] = [0.6, 2.6]; // width by height; anything beyond is cropped to it
const UNKNOWN = 1.25; // of a file that could not be decoded

function shapeOf({ width, height }) {
  return width && height ? Math.min(WIDEST, Math.max(NARROWEST, width / height)) : UNKNOWN;
}

// The rows [{top, height, tiles: [{index, left, width}]}] and their height. While more hits are to come, the last row
// waits until it is full, so that no picture moves when they do.
export function layOut(hits, width, target, complete) {
  const rows = [];
  let [top, first, shapes] = [0, 0, []];
  const close = (height) => {
    let left = 0;
    const tiles = shapes.map((shape, place) => {
      const tile = { index: first + place, left, width: shape * height };
      left += tile.width + GAP;
      return tile;
    });
    rows.push({ top, height, tiles });
    top += height + GAP;
    first += shapes.length;
    shapes = [];
  };
  for (const hit of hits) {
    shapes.push(shapeOf(hit));
    const height = (width - GAP * (shapes.length - 1)) / shapes.reduce((sum, shape) => sum + shape, 0);
    if (height <= target) close(height);
  }
  if (shapes.length && complete) close(target);
  return { rows, height: Math.max(0, top - GAP) };
}

// The hit above or below another one: of the next row, the one that is nearest to its middle.
export function neighbour(rows, index, step) {
  const row = rows.findIndex(({ tiles }) => tiles.some((tile) => tile.index === index));
  const next = rows[row + step];
  if (!next) return index;
  const tile = rows[row].tiles.find((candidate) => candidate.index === index);
  const middle = tile.left + tile.width / 2;
  const distance = ({ left, width }) => Math.abs(left + width / 2 - middle);
  return next.tiles.reduce((best, candidate) => (distance(candidate) < distance(best) ? candidate : best)).index;
}
