/** Colours of classes and confidences, as tables from a packed pixel (see `LabelMap.packed`) to RGBA. */

/** Okabe and Ito's colours, distinct for people with any common colour blindness. */
const SAFE = [0xe69f00, 0x56b4e9, 0x009e73, 0xf0e442, 0x0072b2, 0xd55e00, 0xcc79a7, 0xffffff];

export type Mode = "tint" | "outline" | "confidence";

export interface Look {
  mode: Mode;
  /** Confidence, 0 to 255, below which nothing is drawn. */
  threshold: number;
  /** Whether a class is drawn, by index. */
  isVisible: (index: number) => boolean;
  /** Colours as 0xRRGGBB by class index. */
  palette: number[];
}

/** Returns the RGBA of each packed value, in the byte order of canvases. Opacity is set on the canvas. */
export function colourTable(look: Look): Uint32Array {
  const table = new Uint32Array(look.palette.length * 256);
  look.palette.forEach((colour, index) => {
    if (!look.isVisible(index)) return;
    for (let confidence = look.threshold; confidence < 256; confidence++) {
      table[index * 256 + confidence] = rgba(look.mode === "confidence" ? heat(confidence / 255) : colour);
    }
  });
  return table;
}

function rgba(colour: number): number {
  return (0xff000000 | ((colour & 0xff) << 16) | (colour & 0xff00) | (colour >> 16)) >>> 0;
}

/** From dark blue through violet and orange to yellow, each brighter than the last, so that it works in greyscale too. */
const HEAT = [0x0b0724, 0x51127c, 0xb63679, 0xfb8861, 0xfcfdbf];

/** Returns the colour of a confidence, 0 to 1. */
export function heat(confidence: number): number {
  const position = Math.min(Math.max(confidence, 0), 1) * (HEAT.length - 1);
  const lower = Math.min(Math.floor(position), HEAT.length - 2);
  return mix(HEAT[lower], HEAT[lower + 1], position - lower);
}

function mix(a: number, b: number, share: number): number {
  const channel = (shift: number) => Math.round(((a >> shift) & 255) * (1 - share) + ((b >> shift) & 255) * share) << shift;
  return channel(16) | channel(8) | channel(0);
}

/** Returns a palette safe for colour blindness; the first classes in `present` get the most distinct colours. */
export function safePalette(classes: number, present: number[]): number[] {
  const palette = new Array<number>(classes).fill(0x999999);
  present.forEach((index, rank) => {
    const round = Math.floor(rank / SAFE.length);
    const colour = SAFE[rank % SAFE.length];
    // Later rounds are darker, then lighter, since everybody sees differences in lightness.
    // A class that only the other model has still reserves its colour.
    if (index >= 0) palette[index] = round === 0 ? colour : mix(colour, round % 2 ? 0x000000 : 0xffffff, 0.45);
  });
  return palette;
}

export function cssColour(colour: number): string {
  return `#${colour.toString(16).padStart(6, "0")}`;
}
