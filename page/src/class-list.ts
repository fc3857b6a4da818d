/** The list of classes: colour, share, score and visibility. */

import { cssColour } from "./colours";
import { byId, element, percent } from "./dom";

export interface Row {
  name: string;
  colour: number;
  /** Share of the photograph, 0 to 1. */
  fraction: number;
  /** Mean confidence, 0 to 1; undefined until the confidences have loaded. */
  score: number | undefined;
  /** Share of the photograph, 0 to 1, in the mask compared with this one. */
  otherFraction?: number;
  /** Intersection over union with the other mask, 0 to 1. */
  iou?: number;
}

/** Keeps the visibility of classes by name, so that it applies to the next photograph too. */
export class ClassList {
  private readonly hidden = new Set<string>();
  private solo: string | undefined;
  private rows: Row[] = [];
  private canExplain = false;
  private readonly root = byId("classes");

  constructor(
    private readonly onChange: () => void,
    private readonly onExplain: (row: Row) => void,
  ) {
    byId("all").addEventListener("click", () => this.showAll(true));
    byId("none").addEventListener("click", () => this.showAll(false));
  }

  /** Hides a class until the user shows it; for background, which would darken every photograph. */
  hideAtFirst(name: string): void {
    this.hidden.add(name);
  }

  isVisible(name: string): boolean {
    return this.solo === undefined ? !this.hidden.has(name) : this.solo === name;
  }

  show(rows: Row[], canExplain: boolean): void {
    if (this.solo !== undefined && !rows.some((row) => row.name === this.solo)) this.solo = undefined;
    const focused = this.root.contains(document.activeElement) ? document.activeElement?.getAttribute("data-focus") : undefined;
    [this.rows, this.canExplain] = [rows, canExplain];
    byId("class-tools").hidden = !rows.length;
    this.root.replaceChildren(...rows.map((row) => this.item(row, canExplain)));
    if (focused) this.root.querySelector<HTMLElement>(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  }

  private item(row: Row, canExplain: boolean): HTMLLIElement {
    const box = element("input", { type: "checkbox", "data-focus": `show ${row.name}`, checked: this.isVisible(row.name) });
    box.addEventListener("change", () => this.toggle(row.name, box.checked));
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = cssColour(row.colour);
    const isSolo = this.solo === row.name;
    const solo = element("button", { type: "button", "data-focus": `solo ${row.name}`, "aria-pressed": String(isSolo), "aria-label": `Only ${row.name}` }, "Only");
    solo.addEventListener("click", () => {
      this.solo = isSolo ? undefined : row.name;
      this.changed();
    });
    const why = element("button", { type: "button", "data-focus": `why ${row.name}`, "aria-label": `Why ${row.name}?`, disabled: !canExplain }, "Why?");
    why.addEventListener("click", () => this.onExplain(row));
    return element("li", {}, element("label", {}, box, swatch, element("span", {}, row.name)), solo, why, element("span", { class: "numbers" }, describe(row)));
  }

  private toggle(name: string, shown: boolean): void {
    // Ticking a class while only one is shown means showing both.
    if (this.solo !== undefined) for (const row of this.rows) if (row.name !== this.solo) this.hidden.add(row.name);
    if (this.solo !== undefined) this.hidden.delete(this.solo);
    this.solo = undefined;
    if (shown) this.hidden.delete(name);
    else this.hidden.add(name);
    this.changed();
  }

  private changed(): void {
    this.show(this.rows, this.canExplain);
    this.onChange();
  }

  private showAll(shown: boolean): void {
    this.solo = undefined;
    for (const row of this.rows) {
      if (shown) this.hidden.delete(row.name);
      else this.hidden.add(row.name);
    }
    this.changed();
  }
}

/** Describes a class's share and confidence or, for two masks, both shares and their overlap. */
function describe({ fraction, score, otherFraction, iou }: Row): string {
  if (otherFraction !== undefined) return `${percent(fraction)} and ${percent(otherFraction)} · overlap (IoU) ${percent(iou ?? 0)}`;
  return `${percent(fraction)} of the pixels${score === undefined ? "" : ` · ${percent(score)} sure`}`;
}
