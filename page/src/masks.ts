/** The masks shown for the selected photograph: one or two, with their colours, comparison and layout. */

import type { Row } from "./class-list";
import { colourTable, safePalette } from "./colours";
import type { Controls } from "./controls";
import { type ClassShare, compare, type Comparison, LabelMap } from "./label-map";
import type { Layer, PaneContent } from "./pane";

const DIFFERENT = 0xff00c8;

/** The input for one view of the photograph. */
export interface View {
  a: LabelMap | undefined;
  b: LabelMap | undefined;
  /** Titles of the two sides. */
  titles: [string, string];
  /** The background class, if the model has one. */
  background: string | undefined;
  isVisible: (name: string) => boolean;
}

export class Masks {
  private view: View = { a: undefined, b: undefined, titles: ["", ""], background: undefined, isVisible: () => true };
  private compared: { a: LabelMap; b: LabelMap; comparison: Comparison; map: LabelMap } | undefined;
  private readonly sharesOf = new WeakMap<LabelMap, { hasConfidence: boolean; shares: ClassShare[] }>();

  constructor(private readonly controls: Controls) {}

  /** Sets what to show; a pair of masks is compared only once. */
  take(view: View): void {
    this.view = view;
    const { a, b } = view;
    if (!a || !b) this.compared = undefined;
    else if (this.compared?.a !== a || this.compared.b !== b) {
      const comparison = compare(a, b);
      const map = new LabelMap(a.width, a.height, comparison.difference, ["the same", "different"], [0, DIFFERENT]);
      this.compared = { a, b, comparison, map };
    }
  }

  get comparison(): Comparison | undefined {
    return this.compared?.comparison;
  }

  panes(): PaneContent[] {
    const { a, b, titles } = this.view;
    const { isComparing, isSwiping, comparedBy } = this.controls;
    if (!isComparing) return [{ layers: this.layers(a, isSwiping ? "right" : "all"), names: isSwiping ? ["photograph", "mask"] : [] }];
    if (comparedBy === "side") return [a, b].map((map, i) => ({ layers: this.layers(map, "all"), names: [titles[i]] }));
    if (comparedBy === "swipe") return [{ layers: [...this.layers(a, "left"), ...this.layers(b, "right")], names: titles }];
    if (!this.compared) return [{ layers: [], names: [] }];
    const table = colourTable({ mode: "tint", threshold: 0, palette: [0, DIFFERENT], isVisible: (index) => index === 1 });
    return [{ layers: [{ map: this.compared.map, table, outlined: false, clip: isSwiping ? "right" : "all" }], names: ["where they differ"] }];
  }

  /** Returns the classes of both masks: those of the first, then those that only the second has. */
  rows(): Row[] {
    const rows = new Map<string, Row>();
    [this.view.a, this.view.b].forEach((map, side) => {
      if (!map) return;
      const palette = this.palette(map);
      for (const { index, fraction, score } of this.shares(map)) {
        const name = map.names[index];
        const row = rows.get(name) ?? { name, colour: palette[index], fraction: 0, score: undefined, iou: this.comparison?.iou.get(name) };
        rows.set(name, side === 0 ? { ...row, fraction, score } : { ...row, otherFraction: fraction });
      }
    });
    const isCompared = this.compared !== undefined;
    return [...rows.values()].map((row) => (isCompared ? { otherFraction: 0, ...row } : row));
  }

  private layers(map: LabelMap | undefined, clip: Layer["clip"]): Layer[] {
    if (!map) return [];
    const table = colourTable({
      mode: this.controls.mode,
      threshold: map.hasConfidence ? this.controls.threshold : 0,
      palette: this.palette(map),
      isVisible: (index) => this.view.isVisible(map.names[index]),
    });
    return [{ map, table, outlined: this.controls.mode === "outline", clip }];
  }

  /** Returns colours by class; the palette for colour blindness goes by the names in either mask, so that both sides match. */
  private palette(map: LabelMap): number[] {
    if (!this.controls.isSafe) return map.palette;
    const { a, b, background } = this.view;
    const present = new Set([a, b].flatMap((mask) => (mask ? this.shares(mask).map(({ index }) => mask.names[index]) : [])));
    const ordered = [...present].filter((name) => name !== background);
    return safePalette(map.names.length, ordered.map((name) => map.names.indexOf(name)));
  }

  private shares(map: LabelMap): ClassShare[] {
    const entry = this.sharesOf.get(map);
    if (entry && entry.hasConfidence === map.hasConfidence) return entry.shares;
    const shares = map.shares();
    this.sharesOf.set(map, { hasConfidence: map.hasConfidence, shares });
    return shares;
  }
}
