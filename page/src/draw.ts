/** Draws masks and photographs at the screen's resolution, so that the cost of a frame does not grow with the photograph. */

import type { LabelMap } from "./label-map";
import type { Viewport } from "./viewport";

/** If a frame of a gesture takes longer than this, in milliseconds, frames are drawn coarser until the gesture ends. */
const BUDGET = 10;

/** Draws the visible part of `map` with nearest neighbour. `table` maps packed values to RGBA. */
export function drawMask(canvas: HTMLCanvasElement, map: LabelMap, viewport: Viewport, table: Uint32Array, outlined: boolean): void {
  const { width, height } = canvas;
  const ratio = width / Math.max(1, canvas.clientWidth);
  const columns = sources(width, viewport.left * ratio, viewport.scale * ratio, map.width);
  const rows = sources(height, viewport.top * ratio, viewport.scale * ratio, map.height);
  const image = imageFor(canvas);
  const pixels = new Uint32Array(image.data.buffer);
  if (outlined) outline(pixels, map, columns, rows, table, Math.max(1, Math.round(2 * ratio)));
  else fill(pixels, map, columns, rows, table);
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}

const images = new WeakMap<HTMLCanvasElement, ImageData>();

/** Returns an empty image of the canvas's size; reuses the last one if it fits, since allocating large ones is slow. */
function imageFor(canvas: HTMLCanvasElement): ImageData {
  const previous = images.get(canvas);
  if (previous?.width === canvas.width && previous.height === canvas.height) {
    previous.data.fill(0);
    return previous;
  }
  const image = new ImageData(canvas.width, canvas.height);
  images.set(canvas, image);
  return image;
}

/** Returns the image column (or row) for each column (or row) of the canvas, -1 outside the image. */
function sources(length: number, offset: number, scale: number, size: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => {
    const source = Math.floor((i + 0.5 - offset) / scale);
    return source >= 0 && source < size ? source : -1;
  });
}

/** Returns the range of positions inside the image: the first, and the one after the last. */
function inside(positions: Int32Array): [number, number] {
  let [first, last] = [0, positions.length];
  while (first < last && positions[first] < 0) first++;
  while (last > first && positions[last - 1] < 0) last--;
  return [first, last];
}

function fill(out: Uint32Array, { packed, width }: LabelMap, columns: Int32Array, rows: Int32Array, table: Uint32Array): void {
  const [left, right] = inside(columns);
  const [top, bottom] = inside(rows);
  for (let y = top; y < bottom; y++) {
    const source = rows[y] * width;
    const target = y * columns.length;
    // Copy the row above if it shows the same pixels.
    if (y > top && rows[y] === rows[y - 1]) out.copyWithin(target, target - columns.length, target);
    else for (let x = left; x < right; x++) out[target + x] = table[packed[source + columns[x]]];
  }
}

function outline(out: Uint32Array, map: LabelMap, columns: Int32Array, rows: Int32Array, table: Uint32Array, thickness: number): void {
  const { packed, width } = map;
  const [left, right] = inside(columns);
  const [top, bottom] = inside(rows);
  for (let y = top; y < bottom; y++) {
    const source = rows[y] * width;
    const below = rows[Math.min(y + thickness, bottom - 1)] * width;
    const target = y * columns.length;
    for (let x = left; x < right; x++) {
      const here = packed[source + columns[x]];
      const beside = packed[source + columns[Math.min(x + thickness, right - 1)]];
      const under = packed[below + columns[x]];
      if (here >> 8 !== beside >> 8) out[target + x] = table[here] || table[beside];
      else if (here >> 8 !== under >> 8) out[target + x] = table[here] || table[under];
    }
  }
}

/** A photograph with repeatedly halved copies, so that scaling from the next larger one is fast and smooth. */
export class Picture {
  private readonly halves: HTMLCanvasElement[] = [];
  readonly width: number;
  readonly height: number;

  constructor(private readonly bitmap: ImageBitmap) {
    [this.width, this.height] = [bitmap.width, bitmap.height];
    let last: ImageBitmap | HTMLCanvasElement = bitmap;
    while (Math.max(last.width, last.height) > 1024) last = this.addHalf(last);
  }

  /** Returns a centre-cropped picture of this size. */
  thumbnail(width: number, height: number): HTMLCanvasElement {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    const scale = Math.max(width / this.width, height / this.height);
    const [w, h] = [this.width * scale, this.height * scale];
    canvas.getContext("2d")!.drawImage(this.halves.at(-1) ?? this.bitmap, (width - w) / 2, (height - h) / 2, w, h);
    return canvas;
  }

  /** Releases the memory. */
  close(): void {
    this.bitmap.close();
    for (const half of this.halves) half.width = half.height = 0;
  }

  draw(canvas: HTMLCanvasElement, viewport: Viewport): void {
    const ratio = canvas.width / Math.max(1, canvas.clientWidth);
    const context = canvas.getContext("2d")!;
    const scale = viewport.scale * ratio;
    const source = this.halves.findLast((half) => half.width >= this.width * scale) ?? this.bitmap;
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = scale < 2;
    context.drawImage(source, viewport.left * ratio, viewport.top * ratio, this.width * scale, this.height * scale);
  }

  private addHalf(of: ImageBitmap | HTMLCanvasElement): HTMLCanvasElement {
    const half = document.createElement("canvas");
    half.width = Math.ceil(of.width / 2);
    half.height = Math.ceil(of.height / 2);
    half.getContext("2d")!.drawImage(of, 0, 0, half.width, half.height);
    this.halves.push(half);
    return half;
  }
}

/** Chooses the resolution of frames: coarser while gestures would stutter, full when nothing moves. */
export class Sharpness {
  private coarse = 1;

  /** Device pixels per CSS pixel. */
  ratio(moving: boolean): number {
    return (window.devicePixelRatio || 1) / (moving ? this.coarse : 1);
  }

  /** Records the duration of a frame of a gesture. */
  note(milliseconds: number): void {
    if (milliseconds > BUDGET) this.coarse = Math.min(4, this.coarse * Math.SQRT2);
    else if (milliseconds < BUDGET / 4) this.coarse = Math.max(1, this.coarse / Math.SQRT2);
  }
}
