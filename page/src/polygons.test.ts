import { describe, expect, it } from "vitest";
import { area, deleteVertex, type FeatureCollection, findPolygon, halveEdge, History, moveVertex, readShapes, type Shape, writeShapes } from "./polygons";

const shape = (index: number, ...polygons: Shape["polygons"]): Shape => ({ index, label: `class ${index}`, color: "#112233", polygons });

/** Two adjacent squares below a wide rectangle, whose lower edge has no vertex where they meet. */
const NEIGHBOURS = [
  shape(1, [[[0, 0], [20, 0], [20, 10], [0, 10], [0, 0]]]),
  shape(2, [[[0, 10], [10, 10], [10, 20], [0, 20], [0, 10]]]),
  shape(3, [[[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]]),
];

const total = (shapes: Shape[]) => shapes.flatMap(({ polygons }) => polygons.map(area)).reduce((a, b) => a + b, 0);

describe("an edit", () => {
  it.each([[[10, 10], [12, 7]], [[20, 10], [15, 12]], [[10, 20], [10, 18]]] as const)("moves the vertex %j of all neighbours, without gap or overlap", (from, to) => {
    const moved = moveVertex(NEIGHBOURS, [...from], [...to]);

    // The area of the triangle lost at the outer edge.
    const lost = from[0] === 20 ? 50 : from[1] === 20 ? 20 : 0;
    expect(total(moved)).toBeCloseTo(400 - lost);
    expect(NEIGHBOURS[0].polygons[0][0]).toHaveLength(5);
  });

  it("halves an edge in both neighbours", () => {
    const halved = halveEdge(NEIGHBOURS, [10, 10], [10, 20]);

    expect(halved[1].polygons[0][0]).toContainEqual([10, 15]);
    expect(halved[2].polygons[0][0]).toContainEqual([10, 15]);
    expect(halved[0]).toBe(NEIGHBOURS[0]);
    expect(total(moveVertex(halved, [10, 15], [13, 15]))).toBeCloseTo(400);
  });

  it("deletes a vertex, even the one that closes a ring, and keeps rings closed", () => {
    const [first] = deleteVertex(NEIGHBOURS, [0, 0]);

    expect(first.polygons[0][0]).toEqual([[20, 0], [20, 10], [0, 10], [20, 0]]);
  });

  it("deletes a triangle with its vertex, and holes with their polygon", () => {
    const triangle = shape(1, [[[0, 0], [9, 0], [0, 9], [0, 0]], [[1, 1], [2, 1], [1, 2], [1, 1]]]);

    expect(deleteVertex([triangle], [1, 2])[0].polygons[0]).toHaveLength(1);
    expect(deleteVertex([triangle], [9, 0])[0].polygons).toEqual([]);
  });

  it("at a position without a vertex changes nothing", () => {
    expect(deleteVertex(NEIGHBOURS, [3, 3])).toBe(NEIGHBOURS);
    expect(moveVertex(NEIGHBOURS, [3, 3], [4, 4])).toBe(NEIGHBOURS);
  });
});

describe("findPolygon", () => {
  it("finds the polygon under the pointer, but not in its hole", () => {
    const ring = shape(1, [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]], [[3, 3], [6, 3], [6, 6], [3, 6], [3, 3]]]);

    expect(findPolygon([ring], [1, 1])).toEqual({ shape: 0, polygon: 0 });
    expect(findPolygon([ring], [4, 4])).toBeUndefined();
  });
});

describe("GeoJSON", () => {
  it("of edited shapes has their sizes and no scores", () => {
    const collection: FeatureCollection = {
      type: "FeatureCollection",
      image: { width: 20, height: 20 },
      features: [{ type: "Feature", properties: { index: 1, label: "a", color: "#fff", score: 0.9 }, geometry: { type: "Polygon", coordinates: [[[0, 0], [4, 0], [4, 5], [0, 5], [0, 0]]] } }],
    };

    const [{ properties, geometry }] = writeShapes(moveVertex(readShapes(collection), [4, 5], [6, 5]), collection).features;

    expect(properties).toEqual({ index: 1, label: "a", color: "#fff", pixels: 25, fraction: 0.0625, bbox: [0, 0, 6, 5], edited: true });
    expect(geometry.coordinates).toEqual([[[[0, 0], [4, 0], [6, 5], [0, 5], [0, 0]]]]);
  });
});

describe("History", () => {
  it("goes back and forth, and forgets undone values after a new one", () => {
    const history = new History("a");
    history.push("b");
    history.push("b");
    history.push("c");

    history.undo();
    expect([history.current, history.canUndo, history.canRedo]).toEqual(["b", true, true]);
    history.redo();
    expect(history.current).toBe("c");
    history.undo();
    history.undo();
    history.undo();
    history.push("d");
    expect([history.current, history.canRedo]).toEqual(["d", false]);
  });
});
