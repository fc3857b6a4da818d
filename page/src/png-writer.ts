/** Writes index PNGs like the API's formats `png` and `index`. */

import type { Png } from "./png";

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Returns a PNG with palette colours, or grey if `palette` is empty; 16-bit grey for 16-bit values. */
export async function encodePng({ width, height, values, palette, text }: Png): Promise<Uint8Array<ArrayBuffer>> {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8 * values.BYTES_PER_ELEMENT, palette.length ? 3 : 0], 8);
  const texts = [...text].map(([keyword, content]) => chunk("iTXt", new TextEncoder().encode(`${keyword}\0\0\0\0\0${content}`)));
  const data = await deflate(rows(width, height, values));
  const parts = [SIGNATURE, chunk("IHDR", header), ...(palette.length ? [chunk("PLTE", palette)] : []), ...texts, chunk("IDAT", data), chunk("IEND", new Uint8Array())];
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

/** Returns the rows as stored, each after a byte that marks it as unfiltered. */
function rows(width: number, height: number, values: Png["values"]): Uint8Array {
  const bytes = values.BYTES_PER_ELEMENT;
  const stored = new Uint8Array(height * (1 + width * bytes));
  for (let row = 0; row < height; row++) {
    const start = row * (1 + width * bytes) + 1;
    const line = values.subarray(row * width, (row + 1) * width);
    if (bytes === 1) stored.set(line, start);
    else line.forEach((value, x) => stored.set([value >> 8, value & 255], start + 2 * x));
  }
  return stored;
}

async function deflate(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([bytes as BlobPart]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(name: string, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(content, 8);
  let crc = 0xffffffff;
  for (const byte of bytes.subarray(4, content.length + 8)) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  view.setUint32(content.length + 8, ~crc >>> 0);
  return bytes;
}
