/** Polygons that share their borders, and edits that keep them shared. Every edit returns new values; unchanged rings stay the same. */

export type Position = [x: number, y: number];
/** Closed: the last position equals the first. */
export type Ring = Position[];
/** The outer ring, then holes. */
export type Polygon = Ring[];

export interface Shape {
  index: number;
  label: string;
  color: string;
  polygons: Polygon[];
}

interface Feature {
  type: "Feature";
  properties: Record<string, unknown> & { index: number; label: string; color: string };
  geometry: { type: "MultiPolygon"; coordinates: Polygon[] } | { type: "Polygon"; coordinates: Polygon };
}

export interface FeatureCollection {
  type: "FeatureCollection";
  image: { width: number; height: number };
  features: Feature[];
  [key: string]: unknown;
}

/** Reads the answer to `format=geojson`. */
export function readShapes(collection: FeatureCollection): Shape[] {
  return collection.features.map((feature) => {
    const { index, label, color } = feature.properties;
    return { index, label, color, polygons: polygonsOf(feature) };
  });
}

/** Writes GeoJSON as the API does. Edited shapes have their own size and no score, which applies only to the model's shape. */
export function writeShapes(shapes: Shape[], source: FeatureCollection): FeatureCollection {
  const { width, height } = source.image;
  const features = shapes.map(({ index, label, color, polygons }, i): Feature => {
    if (JSON.stringify(polygons) === JSON.stringify(polygonsOf(source.features[i]))) return source.features[i];
    const pixels = polygons.reduce((sum, polygon) => sum + area(polygon), 0);
    const properties = { index, label, color, pixels, fraction: pixels / (width * height), bbox: bounds(polygons), edited: true };
    return { type: "Feature", properties, geometry: { type: "MultiPolygon", coordinates: polygons } };
  });
  return { ...source, features: features.filter(({ geometry }) => geometry.coordinates.length) };
}

function polygonsOf({ geometry }: Feature): Polygon[] {
  return geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
}

/** Returns a polygon's area in pixels: its outer ring minus its holes. */
export function area(polygon: Polygon): number {
  const [outer, ...holes] = polygon.map((ring) => {
    let twice = 0;
    for (let i = 1; i < ring.length; i++) twice += ring[i - 1][0] * ring[i][1] - ring[i][0] * ring[i - 1][1];
    return Math.abs(twice) / 2;
  });
  return outer - holes.reduce((sum, hole) => sum + hole, 0);
}

/** Returns x, y, width and height of the bounding box of all polygons. */
export function bounds(polygons: Polygon[]): [number, number, number, number] {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of polygons.flat(2)) {
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  }
  return [left, top, right - left, bottom - top];
}

/** Moves a vertex in every ring that touches it, so that no gap opens between neighbours. */
export function moveVertex(shapes: Shape[], from: Position, to: Position): Shape[] {
  return mapRings(weld(insertAt(shapes, from), from), (ring) => (ring.some((at) => equal(at, from)) ? ring.map((at) => (equal(at, from) ? to : at)) : ring));
}

/** Inserts into the edges at a vertex the neighbours' corners that lie on them and would otherwise be left behind. */
function weld(shapes: Shape[], at: Position): Shape[] {
  const rings = shapes.flatMap((shape) => shape.polygons.flat());
  const edges = rings.flatMap((ring) => ring.slice(1).map((end, i) => [ring[i], end] as const)).filter((edge) => edge.some((end) => equal(end, at)));
  const between = rings.flat().filter((position) => edges.some(([start, end]) => isOn(position, start, end)));
  return between.reduce(insertAt, shapes);
}

/** Adds a vertex at `at`, on an edge, to every ring with this edge. */
export function insertAt(shapes: Shape[], at: Position): Shape[] {
  return mapRings(shapes, (ring) => {
    if (ring.some((position) => equal(position, at))) return ring;
    const edge = ring.findIndex((start, i) => i + 1 < ring.length && isOn(at, start, ring[i + 1]));
    return edge < 0 ? ring : [...ring.slice(0, edge + 1), at, ...ring.slice(edge + 1)];
  });
}

/** Halves the edge from `start` to `end` in every ring with this edge, in either direction. */
export function halveEdge(shapes: Shape[], start: Position, end: Position): Shape[] {
  const middle: Position = [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2];
  return insertAt(shapes, middle);
}

/** Removes a vertex from every ring; a triangle is removed entirely, and a polygon together with its outer ring. */
export function deleteVertex(shapes: Shape[], at: Position): Shape[] {
  const shorten = (ring: Ring): Ring => {
    if (!ring.some((position) => equal(position, at))) return ring;
    const open = ring.slice(0, -1).filter((position) => !equal(position, at));
    return open.length < 3 ? [] : [...open, open[0]];
  };
  const remaining = mapRings(weld(shapes, at), shorten);
  if (remaining === shapes) return shapes;
  return remaining.map((shape) => ({
    ...shape,
    polygons: shape.polygons.filter((polygon) => polygon[0].length).map((polygon) => polygon.filter((ring) => ring.length)),
  }));
}

/** Returns the topmost shape and polygon at a position; small shapes lie above large ones. */
export function findPolygon(shapes: Shape[], [x, y]: Position): { shape: number; polygon: number } | undefined {
  for (let shape = shapes.length - 1; shape >= 0; shape--) {
    const polygon = shapes[shape].polygons.findIndex((rings) => rings.filter((ring) => isInside(ring, x, y)).length % 2 === 1);
    if (polygon >= 0) return { shape, polygon };
  }
  return undefined;
}

function isInside(ring: Ring, x: number, y: number): boolean {
  let inside = false;
  for (let i = 1; i < ring.length; i++) {
    const [[ax, ay], [bx, by]] = [ring[i - 1], ring[i]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

function mapRings(shapes: Shape[], change: (ring: Ring) => Ring): Shape[] {
  let changed = false;
  const mapped = shapes.map((shape) => {
    const polygons = shape.polygons.map((polygon) => {
      const rings = polygon.map(change);
      return rings.every((ring, i) => ring === polygon[i]) ? polygon : rings;
    });
    if (polygons.every((polygon, i) => polygon === shape.polygons[i])) return shape;
    changed = true;
    return { ...shape, polygons };
  });
  return changed ? mapped : shapes;
}

function equal(a: Position, b: Position): boolean {
  return a[0] === b[0] && a[1] === b[1];
}

function isOn([x, y]: Position, [ax, ay]: Position, [bx, by]: Position): boolean {
  const [dx, dy] = [bx - ax, by - ay];
  const along = (x - ax) * dx + (y - ay) * dy;
  const length = dx * dx + dy * dy;
  return along > 0 && along < length && Math.abs((x - ax) * dy - (y - ay) * dx) <= 1e-6 * length;
}

/** Steps back and forth through values that are never changed in place. */
export class History<T> {
  private readonly before: T[] = [];
  private after: T[] = [];

  constructor(private value: T) {}

  get current(): T {
    return this.value;
  }

  get canUndo(): boolean {
    return this.before.length > 0;
  }

  get canRedo(): boolean {
    return this.after.length > 0;
  }

  push(value: T): void {
    if (value === this.value) return;
    this.before.push(this.value);
    this.after = [];
    this.value = value;
  }

  undo(): void {
    if (!this.canUndo) return;
    this.after.push(this.value);
    this.value = this.before.pop()!;
  }

  redo(): void {
    if (!this.canRedo) return;
    this.before.push(this.value);
    this.value = this.after.pop()!;
  }
}
