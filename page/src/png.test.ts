import { deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { decodePng } from "./png";

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

function chunk(name: string, content: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  // The decoder trusts the transport, not the checksum.
  return Buffer.concat([length, Buffer.from(name, "latin1"), content, Buffer.alloc(4)]);
}

function header(width: number, height: number, depth: number, colour: number, interlaced = 0): Buffer {
  const content = Buffer.alloc(13);
  content.writeUInt32BE(width, 0);
  content.writeUInt32BE(height, 4);
  content.set([depth, colour, 0, 0, interlaced], 8);
  return chunk("IHDR", content);
}

function png(...parts: Buffer[]): Uint8Array {
  return new Uint8Array(Buffer.concat([SIGNATURE, ...parts, chunk("IEND", Buffer.alloc(0))]));
}

const data = (...bytes: number[]) => chunk("IDAT", deflateSync(Buffer.from(bytes)));

/** Filters rows as an encoder does; written from the specification, independently of the decoder. */
function filterRows(rows: number[][], filters: number[], step: number): number[] {
  return rows.flatMap((row, y) => [
    filters[y],
    ...row.map((value, i) => {
      const left = i < step ? 0 : row[i - step];
      const up = y ? rows[y - 1][i] : 0;
      const corner = y && i >= step ? rows[y - 1][i - step] : 0;
      const p = left + up - corner;
      const nearest = [left, up, corner].reduce((best, other) => (Math.abs(p - other) < Math.abs(p - best) ? other : best));
      return (value - [0, left, up, (left + up) >> 1, nearest][filters[y]] + 256) & 255;
    }),
  ]);
}

describe("decodePng", () => {
  it("undoes every filter", async () => {
    const rows = Array.from({ length: 10 }, (_, y) => Array.from({ length: 7 }, (_, x) => (x * 89 + y * 57 + ((x * y * 31) % 13)) & 255));
    const filters = [4, 3, 2, 1, 0, 1, 2, 3, 4, 4];

    const { values } = await decodePng(png(header(7, 10, 8, 0), data(...filterRows(rows, filters, 1))));

    expect([...values]).toEqual(rows.flat());
  });

  it("reads 16 bits, whose filters reach two bytes back", async () => {
    const wide = [[1, 300, 65535], [256, 255, 4000]];
    const rows = wide.map((row) => row.flatMap((value) => [value >> 8, value & 255]));

    const { values } = await decodePng(png(header(3, 2, 16, 0), data(...filterRows(rows, [1, 4], 2))));

    expect([...values]).toEqual(wide.flat());
  });

  it.each([
    [1, [0b10110000], [1, 0, 1, 1, 0]],
    [2, [0b00011011, 0b11000000], [0, 1, 2, 3, 3]],
    [4, [0x0f, 0xa5, 0x10], [0, 15, 10, 5, 1]],
  ])("unpacks palette indices of %i bits", async (depth, packed, expected) => {
    const { values } = await decodePng(png(header(5, 1, depth, 3), data(0, ...packed)));

    expect([...values]).toEqual(expected);
  });

  it("joins data chunks and keeps palette and names unchanged", async () => {
    const names = ["background", "Straßenbahn", "<img src=x onerror=alert(1)>"];
    const packed = deflateSync(Buffer.from([0, 2, 1]));
    const text = chunk("iTXt", Buffer.concat([Buffer.from("classes\0\0\0\0\0", "latin1"), Buffer.from(JSON.stringify(names))]));

    const read = await decodePng(png(header(2, 1, 8, 3), chunk("PLTE", Buffer.from([1, 2, 3, 4, 5, 6])), text, chunk("IDAT", packed.subarray(0, 4)), chunk("IDAT", packed.subarray(4))));

    expect([...read.values]).toEqual([2, 1]);
    expect([...read.palette]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(JSON.parse(read.text.get("classes")!)).toEqual(names);
  });

  it.each([
    ["no PNG", new Uint8Array([1, 2, 3]), "not a PNG"],
    ["colours", png(header(1, 1, 8, 2), data(0, 1, 2, 3)), "colour type 2"],
    ["interlaced", png(header(1, 1, 8, 0, 1), data(0, 1)), "interlaced"],
    ["too few rows", png(header(1, 2, 8, 0), data(0, 1)), "too few rows"],
    ["an unknown filter", png(header(1, 1, 8, 0), data(9, 1)), "filter 9"],
    ["no header", png(data(0, 1)), "no header"],
    ["truncated", png(header(1, 1, 8, 0), data(0, 1)).subarray(0, 50), "truncated"],
  ])("refuses %s", async (_, bytes, reason) => {
    await expect(decodePng(bytes)).rejects.toThrow(reason);
  });
});
