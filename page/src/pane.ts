/** One view of the photograph: its canvas, a canvas above it for each mask, and their names in the corners. */

import { element } from "./dom";
import { drawMask, type Picture } from "./draw";
import type { LabelMap } from "./label-map";
import type { Viewport } from "./viewport";

export interface Layer {
  map: LabelMap;
  /** RGBA by packed value, see colours.ts. */
  table: Uint32Array;
  outlined: boolean;
  /** The side of the divider that shows it. */
  clip: "all" | "left" | "right";
}

export interface PaneContent {
  layers: Layer[];
  /** Labels in the upper left and upper right corners. */
  names: string[];
}

export class Pane {
  readonly root = element("div", { class: "pane" });
  private readonly photograph = element("canvas", { "aria-hidden": "true" });
  private masks: HTMLCanvasElement[] = [];
  private names: HTMLElement[] = [];

  constructor() {
    this.root.append(this.photograph);
  }

  show(content: PaneContent, opacity: number): void {
    while (this.masks.length > content.layers.length) this.masks.pop()!.remove();
    while (this.masks.length < content.layers.length) {
      const canvas = element("canvas", { "aria-hidden": "true" });
      (this.masks.at(-1) ?? this.photograph).after(canvas);
      this.masks.push(canvas);
    }
    this.setOpacity(opacity);
    this.names.forEach((name) => name.remove());
    this.names = content.names.map((name, i) => element("div", { class: i ? "name right" : "name" }, name));
    this.root.append(...this.names);
  }

  setOpacity(opacity: number): void {
    for (const canvas of this.masks) canvas.style.opacity = String(opacity);
  }

  divide(layers: Layer[], share: number): void {
    layers.forEach(({ clip }, i) => {
      const cut = `${share * 100}%`;
      this.masks[i].style.clipPath = clip === "all" ? "" : clip === "left" ? `inset(0 calc(100% - ${cut}) 0 0)` : `inset(0 0 0 ${cut})`;
    });
  }

  draw(picture: Picture, layers: Layer[], viewport: Viewport, ratio: number, photographToo: boolean): void {
    if (photographToo) {
      this.fit(this.photograph, ratio);
      picture.draw(this.photograph, viewport);
    }
    layers.forEach((layer, i) => {
      this.fit(this.masks[i], ratio);
      drawMask(this.masks[i], layer.map, viewport, layer.table, layer.outlined);
    });
  }

  private fit(canvas: HTMLCanvasElement, ratio: number): void {
    const [width, height] = [this.root.clientWidth, this.root.clientHeight].map((length) => Math.max(1, Math.round(length * ratio)));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  hideMasks(hidden: boolean): void {
    for (const canvas of this.masks) canvas.hidden = hidden;
    for (const name of this.names) name.hidden = hidden;
  }
}
