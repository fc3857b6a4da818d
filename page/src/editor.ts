/** Edits polygons over the photograph: select, drag, add and delete vertices, undo. */

import type { App } from "./app";
import { Cancelled } from "./api";
import { byId, saveFile } from "./dom";
import { deleteVertex, type FeatureCollection, findPolygon, halveEdge, History, moveVertex, type Position, readShapes, type Shape, writeShapes } from "./polygons";
import type { Point } from "./stage";

const SVG = "http://www.w3.org/2000/svg";
/** More handles than this are drawn for the part in view alone. */
const MOST_HANDLES = 1500;

interface Selection {
  shape: number;
  polygon: number;
}

export class Editor {
  private readonly svg = document.createElementNS(SVG, "svg");
  private readonly drawing = document.createElementNS(SVG, "g");
  private source: FeatureCollection | undefined;
  private history = new History<Shape[]>([]);
  /** What was edited before, by photograph, model and tolerance. */
  private readonly kept = new Map<string, { source: FeatureCollection; history: History<Shape[]> }>();
  private selection: Selection | undefined;
  /** The vertex that keys move. */
  private vertex: Position | undefined;
  private loadedFor = "";
  private shownFor = 0;
  private asking: AbortController | undefined;
  private timer = 0;

  constructor(private readonly app: App) {
    this.svg.setAttribute("aria-hidden", "true");
    this.svg.append(this.drawing);
    byId("edit").addEventListener("change", () => void this.refresh());
    byId("tolerance").addEventListener("input", () => this.toleranceChanged());
    byId("undo").addEventListener("click", () => this.step("undo"));
    byId("redo").addEventListener("click", () => this.step("redo"));
    byId("delete").addEventListener("click", () => this.vertex && this.remove(this.vertex));
    byId("save-polygons").addEventListener("click", () => this.save());
    byId("panes").addEventListener("keydown", (event) => this.onKey(event), { capture: true });
    document.addEventListener("keydown", (event) => {
      if (!this.isOn || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      event.preventDefault();
      this.step(event.shiftKey ? "redo" : "undo");
    });
  }

  get isOn(): boolean {
    return byId<HTMLInputElement>("edit").checked;
  }

  get tolerance(): string {
    return byId<HTMLInputElement>("tolerance").value;
  }

  /** Takes over another photograph, model or tolerance; asks the server for polygons where they are wanted. */
  async refresh(): Promise<void> {
    byId("polygon-tools").hidden = !this.isOn;
    this.app.stage.hideMasks(this.isOn);
    const { current, sideA } = this.app;
    if (!this.isOn || !current?.picture || !this.app.resultA) return this.svg.remove();
    const key = `${current.id} ${sideA.key} ${this.tolerance}`;
    this.app.stage.firstPane?.append(this.svg);
    if (key === this.loadedFor) return this.draw();
    this.loadedFor = key;
    this.asking?.abort();
    const before = this.kept.get(key);
    if (before) return this.take(before.source, before.history);
    // Polygons of another photograph must not lie over this one while the server is asked.
    if (this.shownFor !== current.id) this.history = new History<Shape[]>([]);
    this.shownFor = current.id;
    this.selection = this.vertex = undefined;
    this.draw();
    this.asking = new AbortController();
    await this.load(key, this.asking.signal);
  }

  /** Selects the polygon at a pixel. */
  select({ x, y }: Point): void {
    if (!this.isOn) return;
    this.selection = findPolygon(this.history.current, [x + 0.5, y + 0.5]);
    this.vertex = this.selection && this.rings()[0][0];
    this.tell();
    this.draw();
  }

  draw(): void {
    if (!this.svg.isConnected) return;
    const { scale, left, top } = this.app.stage.viewport;
    this.drawing.setAttribute("transform", `translate(${left} ${top}) scale(${scale})`);
    this.drawing.replaceChildren(...this.history.current.map((shape, i) => this.outline(shape, i)), ...this.handles(scale));
    byId<HTMLButtonElement>("undo").disabled = !this.history.canUndo;
    byId<HTMLButtonElement>("redo").disabled = !this.history.canRedo;
    byId<HTMLButtonElement>("delete").disabled = !this.vertex;
  }

  private async load(key: string, signal: AbortSignal): Promise<void> {
    const { api, current, sideA } = this.app;
    byId("polygon-text").textContent = "Asking for polygons …";
    try {
      const answer = await api.predict(sideA.name, current!.file, { ...sideA.options, format: "geojson", tolerance: this.tolerance }, { signal });
      const source = JSON.parse(new TextDecoder().decode(answer.bytes)) as FeatureCollection;
      const history = new History(readShapes(source));
      this.kept.set(key, { source, history });
      this.take(source, history);
    } catch (error) {
      if (error instanceof Cancelled) return;
      if (this.loadedFor === key) this.loadedFor = "";
      byId("polygon-text").textContent = error instanceof Error ? error.message : String(error);
    }
  }

  private take(source: FeatureCollection, history: History<Shape[]>): void {
    [this.source, this.history] = [source, history];
    this.selection = this.vertex = undefined;
    this.tell();
    this.draw();
  }

  private toleranceChanged(): void {
    byId("tolerance-value").textContent = `${this.tolerance} px`;
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.refresh(), 120);
  }

  private tell(): void {
    const polygons = this.history.current.flatMap((shape) => shape.polygons);
    const corners = polygons.flat().reduce((sum, ring) => sum + ring.length - 1, 0);
    const selected = this.selection && this.history.current[this.selection.shape];
    const advice = selected ? ` Selected: ${selected.label}. Drag a corner, or the middle of an edge; Delete removes a corner.` : " Click one to edit it.";
    byId("polygon-text").textContent = `${polygons.length} polygons, ${corners} corners.${advice}`;
  }

  private outline(shape: Shape, index: number): SVGElement {
    const path = document.createElementNS(SVG, "path");
    const rings = shape.polygons.flat();
    path.setAttribute("d", rings.map((ring) => `M${ring.slice(0, -1).map((at) => at.join(" ")).join("L")}Z`).join(""));
    const isSelected = this.selection?.shape === index;
    const attributes = { "fill-rule": "evenodd", fill: shape.color, "fill-opacity": isSelected ? "0.6" : "0.4", stroke: "#fff", "stroke-width": isSelected ? "2" : "1", "vector-effect": "non-scaling-stroke" };
    for (const [name, value] of Object.entries(attributes)) path.setAttribute(name, value);
    return path;
  }

  private rings(): Position[][] {
    const { selection } = this;
    return (selection && this.history.current[selection.shape]?.polygons[selection.polygon]) ?? [];
  }

  private handles(scale: number): SVGElement[] {
    const rings = this.rings();
    const corners = rings.reduce((sum, ring) => sum + ring.length, 0);
    const isInView = ([x, y]: Position) => corners < MOST_HANDLES || this.isInView(x, y);
    return rings.flatMap((ring) =>
      ring.slice(0, -1).flatMap((at, i) => {
        if (!isInView(at)) return [];
        const next = ring[i + 1];
        const isLong = Math.hypot(next[0] - at[0], next[1] - at[1]) * scale > 24;
        const made = [this.corner(at, scale)];
        if (isLong) made.unshift(this.middle(at, next, scale));
        return made;
      }),
    );
  }

  private isInView(x: number, y: number): boolean {
    const { scale, left, top } = this.app.stage.viewport;
    const [px, py] = [x * scale + left, y * scale + top];
    return px >= 0 && py >= 0 && px <= this.svg.clientWidth && py <= this.svg.clientHeight;
  }

  private circle([x, y]: Position, radius: number, fill: string, name: string): SVGElement {
    const made = document.createElementNS(SVG, "circle");
    const attributes = { cx: x, cy: y, r: radius, fill, stroke: "#000", "vector-effect": "non-scaling-stroke", class: name };
    for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, String(value));
    return made;
  }

  private corner(at: Position, scale: number): SVGElement {
    const isCurrent = this.vertex?.[0] === at[0] && this.vertex[1] === at[1];
    const made = this.circle(at, (isCurrent ? 8 : 6) / scale, isCurrent ? "#ffd400" : "#fff", "corner");
    made.addEventListener("pointerdown", (event) => this.drag(event, at));
    made.addEventListener("dblclick", (event) => {
      event.stopPropagation();
      this.remove(at);
    });
    return made;
  }

  private middle(start: Position, end: Position, scale: number): SVGElement {
    const at: Position = [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2];
    const made = this.circle(at, 4 / scale, "#9cf", "middle");
    made.addEventListener("pointerdown", (event) => this.drag(event, at, halveEdge(this.history.current, start, end)));
    return made;
  }

  /** Follows a pointer with a vertex; the whole drag is one step of the history. */
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
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      this.history = before;
      this.history.push(shapes);
      this.vertex ??= from;
      this.tell();
      this.draw();
    };
    this.vertex = from;
    this.draw();
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
  }

  /** Returns where a pointer is, to a quarter of a pixel at most, inside the photograph. */
  private positionOf(event: PointerEvent): Position {
    const { left, top } = this.svg.getBoundingClientRect();
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
    if (!this.rings().length) this.selection = undefined;
    this.vertex = this.rings()[0]?.[0];
    this.tell();
    this.draw();
  }

  private step(way: "undo" | "redo"): void {
    this.history[way]();
    if (!this.rings().length) this.selection = undefined;
    this.vertex = this.rings()[0]?.[0];
    this.tell();
    this.draw();
  }

  /** Keys while the photograph has the focus: `,` and `.` choose a corner, arrows move it, Insert adds one, Delete removes it. */
  private onKey(event: KeyboardEvent): void {
    const { vertex } = this;
    if (!this.isOn || !vertex || event.ctrlKey || event.metaKey || event.altKey) return;
    const ring = this.rings().find((positions) => positions.some(([x, y]) => x === vertex[0] && y === vertex[1]));
    if (!ring) return;
    const moves: Record<string, Position> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const index = ring.findIndex(([x, y]) => x === vertex[0] && y === vertex[1]);
    const count = ring.length - 1;
    if (event.key === ".") this.vertex = ring[(index + 1) % count];
    else if (event.key === ",") this.vertex = ring[(index + count - 1) % count];
    else if (event.key === "Delete" || event.key === "Backspace") this.remove(vertex);
    else if (event.key === "Insert" || event.key === "i") this.history.push(halveEdge(this.history.current, vertex, ring[index + 1]));
    else if (event.key in moves) {
      const [dx, dy] = moves[event.key];
      const to = this.inside([vertex[0] + dx, vertex[1] + dy]);
      this.history.push(moveVertex(this.history.current, vertex, to));
      this.vertex = to;
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.tell();
    this.draw();
  }

  private save(): void {
    if (!this.source || !this.app.current) return;
    const text = JSON.stringify(writeShapes(this.history.current, this.source));
    saveFile(new Blob([text], { type: "application/geo+json" }), `${stem(this.app.current.name)}.edited.geojson`);
  }
}

export function stem(name: string): string {
  return name.replace(/\.[^.]*$/, "") || "photograph";
}
