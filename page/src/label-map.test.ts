import { describe, expect, it } from "vitest";
import { colourTable, heat, safePalette } from "./colours";
import { compare, LabelMap } from "./label-map";

const map = (labels: number[], names: string[], width = labels.length) =>
  new LabelMap(width, labels.length / width, Uint16Array.from(labels), names, names.map((_, i) => i * 0x010203));

const grey = (values: number[]) => ({ width: values.length, height: 1, values: Uint8Array.from(values), palette: new Uint8Array(), text: new Map<string, string>() });

describe("LabelMap", () => {
  it("keeps its labels when confidences are added", () => {
    const mask = map([0, 2, 2, 1], ["background", "cat", "dog"]);
    expect(mask.at(1, 0)).toEqual({ index: 2, confidence: undefined });

    mask.addConfidence(grey([255, 51, 0, 102]));

    expect(mask.at(1, 0)).toEqual({ index: 2, confidence: 0.2 });
    expect(mask.shares().map(({ index, pixels, score }) => [index, pixels, score])).toEqual([[2, 2, 0.1], [0, 1, 1], [1, 1, 0.4]]);
  });

  it("holds more than 256 classes", () => {
    const names = Array.from({ length: 400 }, (_, i) => `class ${i}`);

    expect(map([399, 256], names).at(0, 0).index).toBe(399);
  });

  it("refuses confidences of another size", () => {
    expect(() => map([0, 1], ["a", "b"]).addConfidence(grey([1]))).toThrow("another size");
  });
});

describe("compare", () => {
  it("counts agreement and intersection over union by name, whatever the order of classes", () => {
    const a = map([0, 1, 1, 2], ["background", "cat", "dog"]);
    const b = map([0, 2, 1, 1], ["background", "dog", "cat"]);

    const { agreement, iou, difference } = compare(a, b);

    expect(agreement).toBe(0.75);
    expect([...difference]).toEqual([0, 0, 1, 0]);
    expect(Object.fromEntries(iou)).toEqual({ background: 1, cat: 0.5, dog: 0.5 });
  });

  it("refuses masks of different sizes", () => {
    expect(() => compare(map([0, 0], ["a"]), map([0], ["a"]))).toThrow("different sizes");
  });
});

describe("colourTable", () => {
  it("draws nothing of hidden classes or below the threshold", () => {
    const table = colourTable({ mode: "tint", threshold: 100, palette: [0x112233, 0x445566], isVisible: (index) => index === 1 });

    expect(table[0 * 256 + 255]).toBe(0);
    expect(table[1 * 256 + 99]).toBe(0);
    expect(table[1 * 256 + 100]).toBe(0xff665544);
  });

  it("shows confidence from dark to bright", () => {
    const brightness = [0, 0.25, 0.5, 0.75, 1].map(heat).map((c) => 0.3 * (c >> 16) + 0.59 * ((c >> 8) & 255) + 0.11 * (c & 255));

    expect(brightness).toEqual([...brightness].sort((a, b) => a - b));
  });
});

describe("safePalette", () => {
  it("gives different colours to the classes present", () => {
    const present = Array.from({ length: 20 }, (_, i) => i + 1);

    const palette = safePalette(21, present);

    expect(new Set(present.map((i) => palette[i])).size).toBe(20);
  });
});
