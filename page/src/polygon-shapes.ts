/** Conversions of polygons for files: to single rings without holes, and to pixel masks. */

import type { Polygon, Position, Ring, Shape } from "./polygons";

/**
 * Returns one closed ring for a polygon with holes: from each hole a cut leads left to the ring and back. Filled by either rule,
 * it covers exactly the same pixels.
 */
export function cutToHoles([outer, ...holes]: Polygon): Ring {
  const leftmost = (ring: Ring) => ring.reduce((best, at, i) => (at[0] < ring[best][0] ? i : best), 0);
  const sorted = [...holes].sort((a, b) => a[leftmost(a)][0] - b[leftmost(b)][0]);
  return sorted.reduce((ring, hole) => {
    const first = leftmost(hole);
    const open = hole.slice(0, -1);
    const around = [...open.slice(first), ...open.slice(0, first), hole[first]];
    const [edge, at] = edgeLeftOf(ring, hole[first]);
    return [...ring.slice(0, edge + 1), at, ...around, at, ...ring.slice(edge + 1)];
  }, outer);
}

/** Returns the index of the nearest edge to the left of a position, and the point on it where the cut ends. */
function edgeLeftOf(ring: Ring, [x, y]: Position): [number, Position] {
  let best: [number, Position] = [0, ring[0]];
  let nearest = -Infinity;
  for (let i = 0; i + 1 < ring.length; i++) {
    const [[ax, ay], [bx, by]] = [ring[i], ring[i + 1]];
    if (ay > y === by > y) continue;
    const crossing = ax + ((bx - ax) * (y - ay)) / (by - ay);
    if (crossing <= x && crossing > nearest) [nearest, best] = [crossing, [i, [crossing, y]]];
  }
  return best;
}

/** Draws the class index of each shape over `background`; a pixel belongs to the last shape that covers its centre. */
export function rasterise(shapes: Shape[], width: number, height: number, background: number): Uint8Array | Uint16Array {
  const isWide = Math.max(background, ...shapes.map(({ index }) => index)) > 255;
  const values = (isWide ? new Uint16Array(width * height) : new Uint8Array(width * height)).fill(background);
  for (const { index, polygons } of shapes) {
    for (const polygon of polygons) {
      crossings(polygon, height).forEach((row, y) => {
        row.sort((a, b) => a - b);
        for (let i = 0; i + 1 < row.length; i += 2) {
          const [start, end] = [row[i], row[i + 1]].map((x) => Math.min(width, Math.max(0, Math.ceil(x - 0.5))));
          values.fill(index, y * width + start, y * width + end);
        }
      });
    }
  }
  return values;
}

/** Returns, by row, the x positions where edges cross the middle of the row's pixels. */
function crossings(polygon: Polygon, height: number): Map<number, number[]> {
  const rows = new Map<number, number[]>();
  for (const ring of polygon) {
    for (let i = 1; i < ring.length; i++) {
      const [[ax, ay], [bx, by]] = ring[i - 1][1] < ring[i][1] ? [ring[i - 1], ring[i]] : [ring[i], ring[i - 1]];
      for (let y = Math.max(0, Math.ceil(ay - 0.5)); y + 0.5 < by && y < height; y++) {
        const x = ax + ((bx - ax) * (y + 0.5 - ay)) / (by - ay);
        const row = rows.get(y);
        if (row) row.push(x);
        else rows.set(y, [x]);
      }
    }
  }
  return rows;
}
