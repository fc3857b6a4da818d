import { describe, expect, it } from "vitest";
import { decodePng } from "./png";
import { POLYGON_FILES, type PolygonSet } from "./polygon-files";
import { area, type FeatureCollection, type Polygon, readShapes, type Shape } from "./polygons";
import { cutToHoles, rasterise } from "./polygon-shapes";

const square = (x: number, y: number, side: number) => [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]] as [number, number][];
/** Two holes; the cut to one passes the other. */
const HOLED: Polygon = [square(0, 0, 12), square(6, 4, 3).reverse(), square(2, 2, 3).reverse()];
const shape = (index: number, ...polygons: Polygon[]): Shape => ({ index, label: `class ${index}`, color: "#112233", polygons });

function collection(label: string): FeatureCollection {
  const properties = { index: 1, label, color: "#112233", score: 0.9 };
  return { type: "FeatureCollection", model: "m", version: "1", image: { width: 12, height: 12 }, features: [{ type: "Feature", properties, geometry: { type: "MultiPolygon", coordinates: [HOLED] } }] };
}

function set(label = "cat", background: number | undefined = 0): PolygonSet {
  const source = collection(label);
  return { shapes: readShapes(source), source, photo: "cat.jpg", classes: ["background", label], palette: [0, 0x112233], background };
}

const write = (format: string, ...options: Parameters<typeof set>) => POLYGON_FILES[format].write(set(...options)) as string;

describe("a polygon with holes", () => {
  it("becomes one closed ring of the same area", () => {
    const ring = cutToHoles(HOLED);

    expect(ring[0]).toEqual(ring.at(-1));
    expect(area([ring])).toBe(area(HOLED));
  });

  it("covers the same pixels as its single ring", () => {
    const values = rasterise([shape(1, HOLED)], 12, 12, 0);

    expect(Array.from(values).filter(Boolean)).toHaveLength(area(HOLED));
    expect([values[4 * 12 + 3], values[5 * 12 + 7], values[0]]).toEqual([0, 0, 1]);
    expect(rasterise([shape(1, [cutToHoles(HOLED)])], 12, 12, 0)).toEqual(values);
  });
});

describe("a mask", () => {
  it("shows the later of overlapping shapes, is clipped to the photograph, and allows many classes", () => {
    const values = rasterise([shape(1, [square(-3, -3, 6)]), shape(300, [square(2, 2, 40)])], 4, 4, 7);

    expect([...values]).toEqual([1, 1, 1, 7, 1, 1, 1, 7, 1, 1, 300, 300, 7, 7, 300, 300]);
  });

  it.each([[0, ["background", "cat"]], [undefined, ["background", "cat", "background"]]])("is a PNG with the class names, and with %s as the index of the background", async (background, names) => {
    const polygonSet = { ...set(), background };
    const png = await decodePng((await POLYGON_FILES.png.write(polygonSet)) as Uint8Array);

    expect(JSON.parse(png.text.get("classes")!)).toEqual(names);
    expect(png.values).toEqual(rasterise(polygonSet.shapes, 12, 12, background ?? 2));
    expect([...png.palette.slice(3, 6)]).toEqual([0x11, 0x22, 0x33]);
  });

  it("with more classes than a palette can hold is 16-bit grey", async () => {
    const polygonSet = { ...set(), classes: Array.from({ length: 300 }, (_, i) => `class ${i}`), palette: new Array<number>(300).fill(0), background: 299 };
    const png = await decodePng((await POLYGON_FILES.png.write(polygonSet)) as Uint8Array);

    expect([png.palette.length, png.values[4 * 12 + 3], png.values[0]]).toEqual([0, 299, 1]);
  });
});

describe("a file", () => {
  it("without edits is the model's answer, including scores", () => {
    expect(JSON.parse(write("geojson"))).toEqual(collection("cat"));
  });

  it.each(["coco", "labelme", "labelstudio_polygons"])("in the format %s has the class name as text", (format) => {
    expect(write(format, '"<b>')).toContain(JSON.stringify('"<b>'));
  });

  it("in SVG escapes markup in class names and drops characters that XML does not allow", () => {
    const svg = write("svg", "</title><script>alert('&')</script>\u0001");

    expect(svg).not.toContain("<script>");
    expect(svg).toContain("&#60;/title&#62;&#60;script&#62;alert('&#38;')&#60;/script&#62;</title>");
  });
});
