/** Decodes index and grey PNGs. A canvas applies colour management, which would corrupt class indices. */

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GREY = 0;
const PALETTE = 3;

export interface Png {
  width: number;
  height: number;
  /** One value per pixel, row by row, as stored: class indices, or grey of the file's depth. */
  values: Uint8Array | Uint16Array;
  /** Red, green and blue of each palette entry; empty for grey files. */
  palette: Uint8Array;
  /** Text chunks by keyword. */
  text: Map<string, string>;
}

interface Header {
  width: number;
  height: number;
  depth: number;
}

/** Decodes a PNG with one channel, grey or palette, of 1 to 16 bits. Throws an Error with the reason if it cannot. */
export async function decodePng(bytes: Uint8Array): Promise<Png> {
  if (SIGNATURE.some((byte, position) => bytes[position] !== byte)) throw new Error("the answer is not a PNG");
  let header: Header | undefined;
  let palette: Uint8Array = new Uint8Array();
  const text = new Map<string, string>();
  const data: Uint8Array[] = [];
  for (const [name, content] of chunks(bytes)) {
    if (name === "IHDR") header = readHeader(content);
    else if (name === "PLTE") palette = content.slice();
    else if (name === "IDAT") data.push(content);
    else if (name === "tEXt" || name === "iTXt") text.set(...readText(name, content));
  }
  if (!header) throw new Error("the PNG has no header");
  const rows = await inflate(data);
  return { width: header.width, height: header.height, values: unfilter(rows, header), palette, text };
}

function* chunks(bytes: Uint8Array): Generator<[string, Uint8Array]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let position = SIGNATURE.length;
  while (position + 12 <= bytes.length) {
    const length = view.getUint32(position);
    const start = position + 8;
    if (start + length + 4 > bytes.length) throw new Error("the PNG is truncated");
    yield [String.fromCharCode(...bytes.subarray(position + 4, start)), bytes.subarray(start, start + length)];
    position = start + length + 4;
  }
}

function readHeader(content: Uint8Array): Header {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const [depth, colour, interlaced] = [content[8], content[9], content[12]];
  if (colour !== GREY && colour !== PALETTE) throw new Error(`the PNG has colour type ${colour}; 0 and 3 hold class indices`);
  if (interlaced) throw new Error("the PNG is interlaced");
  return { width: view.getUint32(0), height: view.getUint32(4), depth };
}

function readText(name: string, content: Uint8Array): [string, string] {
  const keyEnd = content.indexOf(0);
  const keyword = new TextDecoder("latin1").decode(content.subarray(0, keyEnd));
  if (name === "tEXt") return [keyword, new TextDecoder("latin1").decode(content.subarray(keyEnd + 1))];
  if (content[keyEnd + 1]) throw new Error(`the PNG's text ${keyword} is compressed`);
  const languageEnd = content.indexOf(0, keyEnd + 3);
  const translatedEnd = content.indexOf(0, languageEnd + 1);
  return [keyword, new TextDecoder().decode(content.subarray(translatedEnd + 1))];
}

async function inflate(parts: Uint8Array[]): Promise<Uint8Array> {
  const stream = new Blob(parts as BlobPart[]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Reverses the rows' filters (PNG specification, section 9) and unpacks values of less than 8 bits. */
function unfilter(data: Uint8Array, { width, height, depth }: Header): Uint8Array | Uint16Array {
  const rowBytes = Math.ceil((width * depth) / 8);
  if (data.length < height * (rowBytes + 1)) throw new Error("the PNG has too few rows");
  const step = depth === 16 ? 2 : 1;
  let above = new Uint8Array(rowBytes);
  for (let row = 0; row < height; row++) {
    const start = row * (rowBytes + 1);
    const line = data.subarray(start + 1, start + 1 + rowBytes) as Uint8Array<ArrayBuffer>;
    unfilterRow(data[start], line, above, step);
    above = line;
  }
  return unpack(data, width, height, depth, rowBytes);
}

function unfilterRow(filter: number, line: Uint8Array, above: Uint8Array, step: number): void {
  const length = line.length;
  if (filter === 1) {
    for (let i = step; i < length; i++) line[i] += line[i - step];
  } else if (filter === 2) {
    for (let i = 0; i < length; i++) line[i] += above[i];
  } else if (filter === 3) {
    for (let i = 0; i < length; i++) line[i] += ((i < step ? 0 : line[i - step]) + above[i]) >> 1;
  } else if (filter === 4) {
    for (let i = 0; i < length; i++) {
      line[i] += i < step ? above[i] : paeth(line[i - step], above[i], above[i - step]);
    }
  } else if (filter !== 0) {
    throw new Error(`the PNG has a row with filter ${filter}`);
  }
}

function paeth(left: number, up: number, upLeft: number): number {
  const estimate = left + up - upLeft;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - up), Math.abs(estimate - upLeft)];
  return a <= b && a <= c ? left : b <= c ? up : upLeft;
}

function unpack(data: Uint8Array, width: number, height: number, depth: number, rowBytes: number): Uint8Array | Uint16Array {
  const values = depth === 16 ? new Uint16Array(width * height) : new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    const start = row * (rowBytes + 1) + 1;
    const out = row * width;
    if (depth === 8) values.set(data.subarray(start, start + width), out);
    else if (depth === 16) for (let x = 0; x < width; x++) values[out + x] = (data[start + 2 * x] << 8) | data[start + 2 * x + 1];
    else {
      const mask = (1 << depth) - 1;
      for (let x = 0; x < width; x++) {
        const bit = x * depth;
        values[out + x] = (data[start + (bit >> 3)] >> (8 - depth - (bit & 7))) & mask;
      }
    }
  }
  return values;
}
