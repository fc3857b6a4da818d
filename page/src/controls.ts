/** The view controls: their values, and notification of changes. */

import { heat, type Mode } from "./colours";
import { byId } from "./dom";
import type { Stage } from "./stage";

export type ComparedBy = "swipe" | "side" | "difference";

export class Controls {
  /** @param onChange called with whether the change is part of a gesture, so that lists can stay as they are. */
  constructor(
    private readonly stage: Stage,
    private readonly onChange: (live: boolean) => void,
  ) {
    for (const choice of document.querySelectorAll('input[name="mode"], input[name="compare-by"], #swipe, #safe')) choice.addEventListener("change", () => this.onChange(false));
    this.listenToSliders();
    this.listenToZoom();
    this.listenToPeek();
    drawScale();
  }

  get mode(): Mode {
    return chosen("mode") as Mode;
  }

  get comparedBy(): ComparedBy {
    return chosen("compare-by") as ComparedBy;
  }

  get isComparing(): boolean {
    return byId<HTMLInputElement>("compare").checked;
  }

  get isSwiping(): boolean {
    return byId<HTMLInputElement>("swipe").checked;
  }

  /** Whether to use the palette for colour blindness. */
  get isSafe(): boolean {
    return byId<HTMLInputElement>("safe").checked;
  }

  /** 0 to 1. */
  get opacity(): number {
    return Number(byId<HTMLInputElement>("opacity").value) / 100;
  }

  /** The confidence, 0 to 255, below which nothing is shown. */
  get threshold(): number {
    return Math.ceil(Number(byId<HTMLInputElement>("threshold").value) * 2.55);
  }

  private listenToSliders(): void {
    const [opacity, threshold] = [byId<HTMLInputElement>("opacity"), byId<HTMLInputElement>("threshold")];
    opacity.addEventListener("input", () => {
      byId("opacity-value").textContent = `${opacity.value} %`;
      this.stage.setOpacity(this.opacity);
    });
    threshold.addEventListener("input", () => {
      byId("threshold-value").textContent = `${threshold.value} %`;
      this.onChange(true);
    });
  }

  private listenToZoom(): void {
    byId("zoom-in").addEventListener("click", () => this.stage.zoom(1.5));
    byId("zoom-out").addEventListener("click", () => this.stage.zoom(1 / 1.5));
    byId("zoom-fit").addEventListener("click", () => this.stage.fit());
  }

  private listenToPeek(): void {
    const peek = (on: boolean) => this.stage.hideMasks(on || byId<HTMLInputElement>("edit").checked);
    const peekButton = byId("peek");
    peekButton.addEventListener("pointerdown", () => peek(true));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) peekButton.addEventListener(end, () => peek(false));
    const isPeek = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (target === peekButton && (event.key === " " || event.key === "Enter")) return true;
      return event.key.toLowerCase() === "p" && !event.ctrlKey && !event.metaKey && !target.closest("select, input:not([type=range], [type=checkbox], [type=radio]), textarea, dialog");
    };
    document.addEventListener("keydown", (event) => isPeek(event) && peek(true));
    document.addEventListener("keyup", (event) => isPeek(event) && peek(false));
  }
}

function chosen(name: string): string {
  return document.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)!.value;
}

/** Draws the legend of the confidence heat map. */
function drawScale(): void {
  const bar = byId<HTMLCanvasElement>("scale-bar").getContext("2d")!;
  for (let x = 0; x < 256; x++) {
    bar.fillStyle = `#${heat(x / 255).toString(16).padStart(6, "0")}`;
    bar.fillRect(x, 0, 1, 1);
  }
}
