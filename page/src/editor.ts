/** Edits polygons over the photograph (select, drag, add and delete corners, undo) and saves them. */

import type { App } from "./app";
import { Cancelled } from "./api";
import { byId, element, saveFile } from "./dom";
import { stem } from "./photos";
import { PolygonDrawing } from "./polygon-drawing";
import { POLYGON_FILES } from "./polygon-files";
import { deleteVertex, type FeatureCollection, findPolygon, halveEdge, History, moveVertex, type Position, readShapes, type Shape } from "./polygons";
import type { Point } from "./stage";

interface Selection {
  shape: number;
  polygon: number;
}

interface Work {
  source: FeatureCollection;
  history: History<Shape[]>;
}

export class Editor {
  private readonly drawing: PolygonDrawing;
  private source: FeatureCollection | undefined;
  private history = new History<Shape[]>([]);
  /** Earlier edits, by photograph, model and tolerance. */
  private readonly edits = new Map<string, Work>();
  private selection: Selection | undefined;
  /** The corner that keys move. */
  private vertex: Position | undefined;
  private loadedFor = "";
  private shownFor = 0;
  private request: { key: string; controller: AbortController; done: Promise<void> } | undefined;
  private timer = 0;

  constructor(private readonly app: App) {
    this.drawing = new PolygonDrawing(app.stage.viewport);
    byId("polygon-format").append(...Object.entries(POLYGON_FILES).map(([value, { name }]) => element("option", { value }, name)));
    byId("edit").addEventListener("change", () => void this.refresh());
    byId("tolerance").addEventListener("input", () => this.toleranceChanged());
    byId("undo").addEventListener("click", () => this.step("undo"));
    byId("redo").addEventListener("click", () => this.step("redo"));
    byId("delete").addEventListener("click", () => this.vertex && this.remove(this.vertex));
    byId("save-polygons").addEventListener("click", () => void this.save());
    byId("panes").addEventListener("keydown", (event) => this.onKey(event), { capture: true });
    document.addEventListener("keydown", (event) => {
      if (!this.isOn || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      event.preventDefault();
      this.step(event.shiftKey ? "redo" : "undo");
    });
  }

  get tolerance(): string {
    return byId<HTMLInputElement>("tolerance").value;
  }

  /** Switches to the current photograph, model and tolerance, and requests polygons if they are shown. */
  async refresh(): Promise<void> {
    byId("polygon-tools").hidden = !this.isOn;
    this.app.stage.hideMasks(this.isOn);
    const isReady = this.app.current?.picture !== undefined && this.app.resultA !== undefined;
    byId<HTMLButtonElement>("save-polygons").disabled = !isReady;
    if (!this.isOn || !isReady) return this.drawing.root.remove();
    this.app.stage.firstPane?.append(this.drawing.root);
    this.draw();
    await this.load();
  }

  /** Selects the polygon at a pixel. */
  select({ x, y }: Point): void {
    if (!this.isOn || !this.isLoaded) return;
    this.choose(findPolygon(this.history.current, [x + 0.5, y + 0.5]));
  }

  draw(): void {
    if (!this.drawing.root.isConnected) return;
    this.drawing.draw(this.history.current, this.selection?.shape, {
      rings: this.rings(),
      current: this.vertex,
      onCorner: (event, at) => this.drag(event, at),
      onDelete: (at) => this.remove(at),
      onEdge: (event, start, end) => this.drag(event, [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2], halveEdge(this.history.current, start, end)),
    });
    byId<HTMLButtonElement>("undo").disabled = !this.history.canUndo;
    byId<HTMLButtonElement>("redo").disabled = !this.history.canRedo;
    byId<HTMLButtonElement>("delete").disabled = !this.vertex;
  }

  private get isOn(): boolean {
    return byId<HTMLInputElement>("edit").checked;
  }

  private get key(): string {
    return `${this.app.current?.id} ${this.app.sideA.key} ${this.tolerance}`;
  }

  private get isLoaded(): boolean {
    return this.loadedFor === this.key;
  }

  /** Loads the polygons for the current view; errors are shown. */
  private load(): Promise<void> {
    const { key } = this;
    if (key === this.loadedFor) return Promise.resolve();
    if (key === this.request?.key) return this.request.done;
    this.request?.controller.abort();
    this.request = undefined;
    const before = this.edits.get(key);
    if (before) return Promise.resolve(this.use(key, before));
    // Polygons of another photograph must not cover this one while the request runs.
    const { id } = this.app.current!;
    if (this.shownFor !== id) this.history = new History<Shape[]>([]);
    this.shownFor = id;
    this.selection = this.vertex = undefined;
    this.loadedFor = "";
    this.draw();
    const controller = new AbortController();
    this.request = { key, controller, done: this.fetchPolygons(key, controller.signal) };
    return this.request.done;
  }

  private async fetchPolygons(key: string, signal: AbortSignal): Promise<void> {
    const { api, current, sideA } = this.app;
    this.say("Requesting polygons …");
    try {
      const answer = await api.predict(sideA.name, current!.file, { ...sideA.options, format: "geojson", tolerance: this.tolerance }, { signal });
      const source = JSON.parse(new TextDecoder().decode(answer.bytes)) as FeatureCollection;
      const work = { source, history: new History(readShapes(source)) };
      this.edits.set(key, work);
      if (key === this.key) this.use(key, work);
    } catch (error) {
      if (!(error instanceof Cancelled)) this.say(error instanceof Error ? error.message : String(error));
    }
    if (this.request?.key === key) this.request = undefined;
  }

  private use(key: string, { source, history }: Work): void {
    [this.loadedFor, this.source, this.history] = [key, source, history];
    this.shownFor = this.app.current!.id;
    this.choose(undefined);
  }

  private toleranceChanged(): void {
    byId("tolerance-value").textContent = `${this.tolerance} px`;
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.refresh(), 120);
  }

  private choose(selection: Selection | undefined): void {
    this.selection = selection;
    this.vertex = this.rings()[0]?.[0];
    this.changed();
  }

  private changed(): void {
    this.showStatus();
    this.draw();
  }

  private say(text: string): void {
    byId("polygon-text").textContent = text;
  }

  private showStatus(): void {
    const polygons = this.history.current.flatMap((shape) => shape.polygons);
    const corners = polygons.flat().reduce((sum, ring) => sum + ring.length - 1, 0);
    const selected = this.selection && this.history.current[this.selection.shape];
    const at = this.vertex && ` The corner at x ${this.vertex[0]}, y ${this.vertex[1]} is selected.`;
    const advice = selected ? ` Selected: ${selected.label}. Drag a corner, or the middle of an edge.${at ?? ""}` : this.isOn ? " Click one to edit it." : "";
    this.say(`${polygons.length} polygons, ${corners} corners.${advice}${this.otherEdits()}`);
  }

  /** Returns a sentence about edits at other tolerances, if any. */
  private otherEdits(): string {
    const start = `${this.app.current?.id} ${this.app.sideA.key} `;
    const others = [...this.edits].filter(([key, { history }]) => key.startsWith(start) && key !== this.loadedFor && history.canUndo);
    return others.length ? ` You have edits at ${others.map(([key]) => `${key.slice(start.length)} px`).join(", ")}.` : "";
  }

  private rings(): Position[][] {
    const { selection } = this;
    return (selection && this.history.current[selection.shape]?.polygons[selection.polygon]) ?? [];
  }

  /** Drags a corner with the pointer; the whole drag is one step of the history. */
  private drag(event: PointerEvent, from: Position, begun = this.history.current): void {
    event.stopPropagation();
    const before = this.history;
    let shapes = begun;
    const move = (moved: PointerEvent) => {
      const to = this.positionOf(moved);
      shapes = moveVertex(begun, from, to);
      this.history = new History(shapes);
      this.vertex = to;
      this.draw();
    };
    const end = () => {
      for (const type of ["pointerup", "pointercancel"]) window.removeEventListener(type, end);
      window.removeEventListener("pointermove", move);
      this.history = before;
      this.history.push(shapes);
      this.changed();
    };
    this.vertex = from;
    this.draw();
    window.addEventListener("pointermove", move);
    for (const type of ["pointerup", "pointercancel"]) window.addEventListener(type, end);
  }

  /** Returns the position of a pointer inside the photograph, rounded to a quarter of a pixel. */
  private positionOf(event: PointerEvent): Position {
    const { left, top } = this.drawing.root.getBoundingClientRect();
    const { viewport } = this.app.stage;
    const at = [(event.clientX - left - viewport.left) / viewport.scale, (event.clientY - top - viewport.top) / viewport.scale];
    return this.inside(at.map((value) => Math.round(value * 4) / 4) as Position);
  }

  private inside([x, y]: Position): Position {
    const { width, height } = this.source!.image;
    return [Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))];
  }

  private remove(at: Position): void {
    this.history.push(deleteVertex(this.history.current, at));
    this.chooseAgain();
  }

  private step(way: "undo" | "redo"): void {
    if (!this.isLoaded) return;
    this.history[way]();
    this.chooseAgain();
  }

  /** Keeps the selected polygon if it still exists. */
  private chooseAgain(): void {
    this.choose(this.rings().length ? this.selection : undefined);
  }

  /** Handles keys while the photograph has focus; the page lists them next to the tools. */
  private onKey(event: KeyboardEvent): void {
    if (!this.isOn || !this.isLoaded || event.ctrlKey || event.metaKey || event.altKey || !this.act(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (this.vertex) this.app.stage.reveal(...this.vertex);
    this.changed();
  }

  /** Handles a key, and returns whether it has a function. */
  private act(key: string): boolean {
    const turns: Record<string, number> = { PageDown: 1, PageUp: -1 };
    if (key in turns) return this.chooseNeighbour(turns[key]);
    const { vertex } = this;
    if (!vertex) return false;
    const corners = this.rings().flatMap((ring) => ring.slice(0, -1));
    const index = corners.findIndex(([x, y]) => x === vertex[0] && y === vertex[1]);
    const moves: Record<string, Position> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (key === ".") this.vertex = corners[(index + 1) % corners.length];
    else if (key === ",") this.vertex = corners[(index + corners.length - 1) % corners.length];
    else if (key === "Escape") this.choose(undefined);
    else if (key === "Delete" || key === "Backspace") this.remove(vertex);
    else if (key === "Insert" || key === "i") this.halveAfter(vertex);
    else if (key in moves) this.moveBy(vertex, moves[key]);
    else return false;
    return true;
  }

  private moveBy(vertex: Position, [dx, dy]: Position): void {
    const to = this.inside([vertex[0] + dx, vertex[1] + dy]);
    this.history.push(moveVertex(this.history.current, vertex, to));
    this.vertex = to;
  }

  private halveAfter([x, y]: Position): void {
    for (const ring of this.rings()) {
      const index = ring.findIndex((at) => at[0] === x && at[1] === y);
      if (index >= 0) return this.history.push(halveEdge(this.history.current, ring[index], ring[index + 1]));
    }
  }

  private chooseNeighbour(turn: number): boolean {
    const all = this.history.current.flatMap(({ polygons }, shape) => polygons.map((_, polygon) => ({ shape, polygon })));
    const index = all.findIndex(({ shape, polygon }) => shape === this.selection?.shape && polygon === this.selection.polygon);
    const start = index < 0 && turn < 0 ? 0 : index;
    if (all.length) this.choose(all[(start + turn + all.length) % all.length]);
    return all.length > 0;
  }

  private async save(): Promise<void> {
    await this.load();
    const { current, resultA } = this.app;
    if (!this.isLoaded || !this.source || !current || !resultA) return;
    const { names, palette } = resultA.map;
    const background = names.findIndex((name) => name === this.app.background);
    const { suffix, contentType, write } = POLYGON_FILES[byId<HTMLSelectElement>("polygon-format").value];
    const content = await write({ shapes: this.history.current, source: this.source, photo: current.name, classes: names, palette, background: background < 0 ? undefined : background });
    const name = `${stem(current.name)}${this.history.canUndo ? ".edited" : ""}${suffix}`;
    saveFile(new Blob([content], { type: contentType }), name);
    this.say(`Saved ${name}.`);
  }
}
