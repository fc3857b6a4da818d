/** The photograph with its masks: one or two panes, zoomed and moved together, with a divider for swiping. */

import { byId, eachFrame } from "./dom";
import { type Picture, Sharpness } from "./draw";
import { Pane, type PaneContent } from "./pane";
import { Viewport } from "./viewport";

/** Milliseconds after the last gesture until a frame is drawn at full resolution. */
const REST = 160;
const KEY_STEP = 40;

export interface Scene {
  picture: Picture;
  panes: PaneContent[];
  /** 0 to 1. */
  opacity: number;
  divided: boolean;
}

export interface Point {
  x: number;
  y: number;
}

export interface StageEvents {
  /** Called with the pixel under the pointer, or in the middle while keys move the photograph. */
  onPoint: (pixel: Point | undefined, pane: number) => void;
  onClick: (pixel: Point, pane: number) => void;
}

export class Stage {
  readonly viewport = new Viewport();
  /** Called after each frame. */
  onDraw: () => void = () => {};
  private readonly root = byId("panes");
  private readonly divider = byId("divider");
  private panes: Pane[] = [];
  private scene: Scene | undefined;
  private drawnViewport = "";
  private drawnRatio = 0;
  private readonly sharpness = new Sharpness();
  private readonly pointers = new Map<number, PointerEvent>();
  private pressedAt: Point | undefined;
  private share = 0.5;
  private rest = 0;
  private moving = false;
  private readonly redraw = eachFrame(() => this.draw());

  constructor(private readonly events: StageEvents) {
    new ResizeObserver(() => this.resize()).observe(this.root);
    this.listenToPointers();
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.listenToDivider();
  }

  show(scene: Scene | undefined): void {
    const isOther = scene?.picture !== this.scene?.picture;
    this.scene = scene;
    this.root.hidden = !scene;
    this.divider.hidden = !scene?.divided;
    if (!scene) return;
    while (this.panes.length > scene.panes.length) this.panes.pop()!.root.remove();
    while (this.panes.length < scene.panes.length) {
      this.panes.push(new Pane());
      this.root.append(this.panes.at(-1)!.root);
    }
    scene.panes.forEach((content, i) => this.panes[i].show(content, scene.opacity));
    this.divide();
    if (isOther) this.drawnViewport = "";
    this.resize();
  }

  /** Redraws in the next frame; coarser during a gesture if the machine is slow. */
  move(): void {
    this.moving = true;
    window.clearTimeout(this.rest);
    this.rest = window.setTimeout(() => {
      this.moving = false;
      this.redraw();
    }, REST);
    this.redraw();
  }

  setOpacity(opacity: number): void {
    if (!this.scene) return;
    this.scene.opacity = opacity;
    for (const pane of this.panes) pane.setOpacity(opacity);
  }

  hideMasks(hidden: boolean): void {
    for (const pane of this.panes) pane.hideMasks(hidden);
  }

  fit(): void {
    this.viewport.fit();
    this.move();
  }

  zoom(factor: number): void {
    this.viewport.zoom(factor);
    this.move();
  }

  /** Moves the photograph so that a position on it is visible. */
  reveal(x: number, y: number): void {
    this.viewport.reveal(x, y);
    this.move();
  }

  /** The element of the first pane, into which other tools draw above the masks. */
  get firstPane(): HTMLElement | undefined {
    return this.panes[0]?.root;
  }

  private draw(): void {
    const { scene } = this;
    if (!scene) return;
    const began = performance.now();
    const ratio = this.sharpness.ratio(this.moving);
    const { scale, left, top } = this.viewport;
    const viewport = `${scale} ${left} ${top}`;
    // The photograph is not redrawn while only the masks change, unless it was drawn coarser.
    const photographToo = viewport !== this.drawnViewport || ratio > this.drawnRatio;
    scene.panes.forEach((content, i) => this.panes[i].draw(scene.picture, content.layers, this.viewport, ratio, photographToo));
    this.drawnViewport = viewport;
    if (photographToo) this.drawnRatio = ratio;
    this.onDraw();
    if (this.moving) this.sharpness.note(performance.now() - began);
    performance.measure("draw", { start: began, detail: { ratio } });
    if (performance.getEntriesByName("draw").length > 500) performance.clearMeasures("draw");
  }

  private resize(): void {
    const pane = this.panes[0]?.root;
    if (!pane || !this.scene) return;
    this.drawnViewport = "";
    this.viewport.resize(pane.clientWidth, pane.clientHeight, this.scene.picture.width, this.scene.picture.height);
    this.redraw();
  }

  private divide(): void {
    this.divider.style.left = `${this.share * 100}%`;
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.share * 100)));
    this.scene?.panes.forEach((content, i) => this.panes[i].divide(content.layers, this.share));
  }

  private listenToDivider(): void {
    const set = (share: number) => {
      this.share = Math.min(1, Math.max(0, share));
      this.divide();
    };
    this.divider.addEventListener("pointerdown", (event) => this.divider.setPointerCapture(event.pointerId));
    this.divider.addEventListener("pointermove", (event) => {
      if (!this.divider.hasPointerCapture(event.pointerId)) return;
      const { left, width } = this.root.getBoundingClientRect();
      set((event.clientX - left) / width);
    });
    this.divider.addEventListener("keydown", (event) => {
      const steps: Record<string, number> = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      set(this.share + steps[event.key]);
    });
  }

  private listenToPointers(): void {
    const { root } = this;
    root.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = this.position(event);
      this.viewport.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), x, y);
      this.move();
    }, { passive: false });
    root.addEventListener("pointerdown", (event) => {
      this.pointers.set(event.pointerId, event);
      this.pressedAt = this.pointers.size === 1 ? { x: event.clientX, y: event.clientY } : undefined;
      root.setPointerCapture(event.pointerId);
    });
    root.addEventListener("pointermove", (event) => this.onPointerMove(event));
    const end = (event: PointerEvent) => {
      const pressed = this.pressedAt;
      if (event.type === "pointerup" && pressed && this.pointers.size === 1 && distance(pressed, { x: event.clientX, y: event.clientY }) < 4) this.click(event);
      this.pointers.delete(event.pointerId);
      root.classList.toggle("dragging", this.pointers.size > 0);
    };
    root.addEventListener("pointerup", end);
    root.addEventListener("pointercancel", end);
    root.addEventListener("pointerleave", () => this.events.onPoint(undefined, 0));
    root.addEventListener("dblclick", (event) => {
      const { x, y } = this.position(event);
      this.viewport.zoom(2, x, y);
      this.move();
    });
  }

  private onPointerMove(event: PointerEvent): void {
    const before = this.pointers.get(event.pointerId);
    if (before) {
      const otherPointers = [...this.pointers.values()].filter((pointer) => pointer.pointerId !== event.pointerId);
      if (otherPointers.length) {
        const { x, y } = this.position(otherPointers[0]);
        this.viewport.zoom(separation(event, otherPointers[0]) / separation(before, otherPointers[0]), x, y);
      }
      if (this.pressedAt === undefined || distance(this.pressedAt, { x: event.clientX, y: event.clientY }) >= 4) {
        this.root.classList.add("dragging");
        const fraction = otherPointers.length ? 0.5 : 1;
        this.viewport.pan((event.clientX - before.clientX) * fraction, (event.clientY - before.clientY) * fraction);
        this.pointers.set(event.pointerId, event);
      }
      this.move();
    }
    const { x, y, pane } = this.position(event);
    this.events.onPoint(this.viewport.pixel(x, y), pane);
  }

  private click(event: PointerEvent): void {
    const { x, y, pane } = this.position(event);
    const pixel = this.viewport.pixel(x, y);
    if (pixel) this.events.onClick(pixel, pane);
  }

  private onKey(event: KeyboardEvent): void {
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [KEY_STEP, 0], ArrowRight: [-KEY_STEP, 0], ArrowUp: [0, KEY_STEP], ArrowDown: [0, -KEY_STEP],
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) this.viewport.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.viewport.zoom(1.25);
    else if (event.key === "-") this.viewport.zoom(0.8);
    else if (event.key === "0") this.viewport.fit();
    else if (event.key !== "Enter") return;
    event.preventDefault();
    this.move();
    const pane = this.panes[0].root;
    const middle = this.viewport.pixel(pane.clientWidth / 2, pane.clientHeight / 2);
    this.events.onPoint(middle, 0);
    if (event.key === "Enter" && middle) this.events.onClick(middle, 0);
  }

  /** Returns the pane under a pointer and the position on it. */
  position(event: MouseEvent): Point & { pane: number } {
    const boxes = this.panes.map((pane) => pane.root.getBoundingClientRect());
    const pane = Math.max(0, boxes.findLastIndex((box) => event.clientX >= box.left));
    return { x: event.clientX - boxes[pane].left, y: event.clientY - boxes[pane].top, pane };
  }
}

function distance(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

function separation(a: PointerEvent, b: PointerEvent): number {
  return Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY));
}
