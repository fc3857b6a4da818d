/** Colours of classes and confidences, as tables from a packed pixel (see `LabelMap.packed`) to RGBA. */

/** Okabe and Ito's colours, distinct to people with any common colour blindness; yellow first, which black hides least. */
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

/** Returns the RGBA, in the byte order of canvases, of each packed value. Opacity is the canvas's. */
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

/** Dark blue over violet and orange to yellow, each brighter than the one before, so that it reads in grey too. */
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

/** Returns a palette that is safe for colour blindness; the classes named first get the most distinct colours. */
export function safePalette(classes: number, present: number[]): number[] {
  const palette = new Array<number>(classes).fill(0x999999);
  present.forEach((index, rank) => {
    const round = Math.floor(rank / SAFE.length);
    const colour = SAFE[rank % SAFE.length];
    // Later rounds are darker, then lighter: lightness is the one difference that everybody sees.
    // The other model's class, which this one lacks, keeps its colour from the rest.
    if (index >= 0) palette[index] = round === 0 ? colour : mix(colour, round % 2 ? 0x000000 : 0xffffff, 0.45);
  });
  return palette;
}

export function cssColour(colour: number): string {
  return `#${colour.toString(16).padStart(6, "0")}`;
}
