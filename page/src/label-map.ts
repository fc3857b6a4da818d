/** A mask in memory: a class index and a confidence for each pixel, in one array. */

import type { Png } from "./png";

/** The confidence of pixels until it has loaded. */
const UNKNOWN = 255;

export interface ClassShare {
  index: number;
  pixels: number;
  /** Share of the photograph, 0 to 1. */
  fraction: number;
  /** Mean probability over the class's pixels, 0 to 1; undefined until the confidences have loaded. */
  score: number | undefined;
}

export class LabelMap {
  /** `index * 256 + confidence` of each pixel, so that drawing needs a single look-up per pixel. */
  readonly packed: Uint16Array | Uint32Array;
  hasConfidence = false;

  constructor(
    readonly width: number,
    readonly height: number,
    labels: Uint8Array | Uint16Array,
    readonly names: string[],
    /** Colours as 0xRRGGBB by class index. */
    readonly palette: number[],
  ) {
    const Packed = names.length > 256 ? Uint32Array : Uint16Array;
    this.packed = new Packed(labels.length);
    for (let i = 0; i < labels.length; i++) this.packed[i] = labels[i] * 256 + UNKNOWN;
  }

  /** Reads the answer to `format=png`, or to `format=index` with separate colours. */
  static fromPng(png: Png, colours: number[] | undefined): LabelMap {
    const names = JSON.parse(png.text.get("classes") ?? "[]") as string[];
    const palette = colours ?? names.map((_, i) => (png.palette[3 * i] << 16) | (png.palette[3 * i + 1] << 8) | png.palette[3 * i + 2]);
    return new LabelMap(png.width, png.height, png.values, names, palette);
  }

  /** Adds the answer to `format=confidence`, 8-bit grey. */
  addConfidence(png: Png): void {
    if (png.values.length !== this.packed.length) throw new Error("the confidences have another size than the mask");
    for (let i = 0; i < this.packed.length; i++) this.packed[i] = (this.packed[i] & ~255) | png.values[i];
    this.hasConfidence = true;
  }

  /** Returns the class index and the confidence, 0 to 1, at a pixel. */
  at(x: number, y: number): { index: number; confidence: number | undefined } {
    const value = this.packed[y * this.width + x];
    return { index: value >> 8, confidence: this.hasConfidence ? (value & 255) / 255 : undefined };
  }

  /** Returns the classes in the mask, largest first. */
  shares(): ClassShare[] {
    const classes = this.names.length;
    const pixels = new Float64Array(classes);
    const sums = new Float64Array(classes);
    for (const value of this.packed) {
      pixels[value >> 8]++;
      sums[value >> 8] += value & 255;
    }
    return Array.from(pixels, (count, index) => ({
      index,
      pixels: count,
      fraction: count / this.packed.length,
      score: this.hasConfidence ? sums[index] / count / 255 : undefined,
    }))
      .filter((share) => share.pixels)
      .sort((a, b) => b.pixels - a.pixels || a.index - b.index);
  }
}

export interface Comparison {
  /** Share of pixels with the same class in both masks, 0 to 1. */
  agreement: number;
  /** Intersection over union by class name, for classes in either mask. */
  iou: Map<string, number>;
  /** 1 where the masks differ. */
  difference: Uint8Array;
}

/** Compares two masks of the same photograph. Classes match by name. */
export function compare(a: LabelMap, b: LabelMap): Comparison {
  if (a.width !== b.width || a.height !== b.height) throw new Error("the two masks have different sizes");
  const names = [...new Set([...a.names, ...b.names])];
  const common = (map: LabelMap) => Uint32Array.from(map.names, (name) => names.indexOf(name));
  const [fromA, fromB] = [common(a), common(b)];
  const [inA, inB, inBoth] = [0, 1, 2].map(() => new Float64Array(names.length));
  const difference = new Uint8Array(a.packed.length);
  let equal = 0;
  for (let i = 0; i < difference.length; i++) {
    const [left, right] = [fromA[a.packed[i] >> 8], fromB[b.packed[i] >> 8]];
    inA[left]++;
    inB[right]++;
    if (left === right) {
      inBoth[left]++;
      equal++;
    } else difference[i] = 1;
  }
  const iou = new Map<string, number>();
  names.forEach((name, i) => {
    const union = inA[i] + inB[i] - inBoth[i];
    if (union) iou.set(name, inBoth[i] / union);
  });
  return { agreement: equal / difference.length, iou, difference };
}
