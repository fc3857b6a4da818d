/** Files of edited polygons: the API's formats with polygons, a mask, and a drawing. */

import { encodePng } from "./png-writer";
import { area, bounds, type FeatureCollection, type Polygon, type Shape, writeShapes } from "./polygons";
import { cutToHoles, rasterise } from "./polygon-shapes";

export interface PolygonSet {
  shapes: Shape[];
  /** The server's original answer. */
  source: FeatureCollection;
  /** The photograph's file name. */
  photo: string;
  /** Names of the model's classes by index. */
  classes: string[];
  /** Colours as 0xRRGGBB by class index. */
  palette: number[];
  /** The class of pixels that no polygon covers; undefined if the model has no background. */
  background: number | undefined;
}

interface PolygonFile {
  name: string;
  suffix: string;
  contentType: string;
  write: (set: PolygonSet) => string | Promise<Uint8Array<ArrayBuffer>>;
}

const JSON_TYPE = "application/json";

/** By the API's name for the format, if it has one. */
export const POLYGON_FILES: Record<string, PolygonFile> = {
  geojson: { name: "GeoJSON", suffix: ".geojson", contentType: "application/geo+json", write: ({ shapes, source }) => JSON.stringify(writeShapes(shapes, source)) },
  coco: { name: "COCO", suffix: ".coco.json", contentType: JSON_TYPE, write: (set) => JSON.stringify(writeCoco(set)) },
  labelme: { name: "Labelme", suffix: ".json", contentType: JSON_TYPE, write: (set) => JSON.stringify(writeLabelme(set)) },
  labelstudio_polygons: { name: "Label Studio", suffix: ".labelstudio.json", contentType: JSON_TYPE, write: (set) => JSON.stringify(writeLabelStudio(set)) },
  png: { name: "Mask (PNG)", suffix: ".png", contentType: "image/png", write: writeMask },
  svg: { name: "Drawing (SVG)", suffix: ".svg", contentType: "image/svg+xml", write: writeSvg },
};

/** Rounds to a thousandth of a pixel. */
const thousandth = (value: number) => Math.round(value * 1000) / 1000;

function writeCoco({ shapes, source, photo, classes, background }: PolygonSet): object {
  const { width, height } = source.image;
  const annotations = shapes.filter(isThere).map(({ index, polygons }, i) => ({
    id: i + 1,
    image_id: 1,
    category_id: index,
    segmentation: polygons.map((polygon) => cutToHoles(polygon).slice(0, -1).flat().map(thousandth)),
    area: polygons.reduce((sum, polygon) => sum + area(polygon), 0),
    bbox: bounds(polygons),
    iscrowd: 0,
  }));
  const categories = classes.map((name, id) => ({ id, name, supercategory: "" })).filter(({ id }) => id !== background);
  const info = { description: source.model, version: source.version };
  return { info, licenses: [], images: [{ id: 1, file_name: photo, height, width }], annotations, categories };
}

/** Labelme's points are relative to pixel centres, so the first pixel is at 0, 0. */
function writeLabelme({ shapes, source, photo }: PolygonSet): object {
  const { width, height } = source.image;
  const parts = shapes.filter(isThere).flatMap(({ label, polygons }, i) => polygons.map((polygon) => ({ label, number: i + 1, ring: cutToHoles(polygon) })));
  return {
    version: "5.4.0",
    flags: {},
    shapes: parts.map(({ label, number, ring }) => ({
      label,
      group_id: number,
      description: "",
      flags: {},
      shape_type: "polygon",
      points: ring.slice(0, -1).map((at) => at.map((value) => thousandth(value - 0.5))),
      mask: null,
    })),
    imagePath: photo,
    imageData: null,
    imageHeight: height,
    imageWidth: width,
  };
}

/** A prediction with `PolygonLabels`; points are percentages. */
function writeLabelStudio({ shapes, source }: PolygonSet): object {
  const { width, height } = source.image;
  const percentage = (value: number, whole: number) => Math.round((value / whole) * 1e8) / 1e6;
  const parts = shapes.flatMap(({ label, polygons }) => polygons.map((polygon) => ({ label, ring: cutToHoles(polygon) })));
  const result = parts.map(({ label, ring }, i) => ({
    id: `region${i + 1}`,
    type: "polygonlabels",
    from_name: "label",
    to_name: "image",
    original_width: width,
    original_height: height,
    image_rotation: 0,
    value: { points: ring.slice(0, -1).map(([x, y]) => [percentage(x, width), percentage(y, height)]), closed: true, polygonlabels: [label] },
  }));
  return { model_version: `${String(source.model)} ${String(source.version)}`, result };
}

/** Pixel values are class indices, as in the API's `png` or, for more than 256 classes, `index`. */
function writeMask({ shapes, source, classes, palette, background }: PolygonSet): Promise<Uint8Array<ArrayBuffer>> {
  const { width, height } = source.image;
  // For a model without background, append a class for pixels that no polygon covers.
  const names = background === undefined ? [...classes, "background"] : classes;
  const colours = Uint8Array.from([...palette, ...(background === undefined ? [0] : [])].flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]));
  const values = rasterise(shapes, width, height, background ?? classes.length);
  return encodePng({ width, height, values, palette: names.length > 256 ? new Uint8Array() : colours, text: new Map([["classes", JSON.stringify(names)]]) });
}

function writeSvg({ shapes, source }: PolygonSet): string {
  const { width, height } = source.image;
  const paths = shapes.filter(isThere).map(({ label, color, polygons }) => `  <path fill="${color}" fill-rule="evenodd" d="${outline(polygons)}"><title>${escapeXml(label)}</title></path>\n`);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">\n${paths.join("")}</svg>\n`;
}

/** Returns polygons as the `d` attribute of an SVG path. */
export function outline(polygons: Polygon[]): string {
  return polygons.flat().map((ring) => `M${ring.slice(0, -1).map((at) => at.join(" ")).join("L")}Z`).join("");
}

/** Escapes text for XML, and drops control characters, most of which XML cannot represent. */
function escapeXml(text: string): string {
  return [...text].filter((character) => character >= " " || "\t\n\r".includes(character)).join("").replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

function isThere({ polygons }: Shape): boolean {
  return polygons.length > 0;
}
