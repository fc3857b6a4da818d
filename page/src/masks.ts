/** The selected photograph's masks as they are shown: one or two, their colours, what they share, and how they are laid out. */

import type { Row } from "./class-list";
import { colourTable, safePalette } from "./colours";
import type { Controls } from "./controls";
import { type ClassShare, compare, type Comparison, LabelMap } from "./label-map";
import type { Layer, PaneContent } from "./pane";

const DIFFERENT = 0xff00c8;

/** What masks are made of, for one look at the photograph. */
export interface View {
  a: LabelMap | undefined;
  b: LabelMap | undefined;
  /** How the two sides are called. */
  titles: [string, string];
  /** The class of what is nothing in particular. */
  background: string | undefined;
  isVisible: (name: string) => boolean;
}

export class Masks {
  private view: View = { a: undefined, b: undefined, titles: ["", ""], background: undefined, isVisible: () => true };
  private compared: { a: LabelMap; b: LabelMap; comparison: Comparison; map: LabelMap } | undefined;
  private readonly sharesOf = new WeakMap<LabelMap, { known: boolean; shares: ClassShare[] }>();

  constructor(private readonly controls: Controls) {}

  /** Takes over what is to be shown; two masks are compared once. */
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

  /** Returns the classes of both masks, those of the first before those that only the second has. */
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

  /** Colours by class; those for colour blindness go to the names that either mask has, so that both sides agree. */
  private palette(map: LabelMap): number[] {
    if (!this.controls.isSafe) return map.palette;
    const { a, b, background } = this.view;
    const present = new Set([a, b].flatMap((one) => (one ? this.shares(one).map(({ index }) => one.names[index]) : [])));
    const ordered = [...present].filter((name) => name !== background);
    return safePalette(map.names.length, ordered.map((name) => map.names.indexOf(name)));
  }

  private shares(map: LabelMap): ClassShare[] {
    const kept = this.sharesOf.get(map);
    if (kept && kept.known === map.hasConfidence) return kept.shares;
    const shares = map.shares();
    this.sharesOf.set(map, { known: map.hasConfidence, shares });
    return shares;
  }
}
