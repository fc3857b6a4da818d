/** Draws polygons over the photograph as SVG, with handles for the selected one. */

import { outline } from "./polygon-files";
import type { Position, Ring, Shape } from "./polygons";
import type { Viewport } from "./viewport";

const SVG = "http://www.w3.org/2000/svg";
/** With more handles than this, only those in view are drawn. */
const MAX_HANDLES = 1500;
/** Edges shorter than this, in CSS pixels, get no handle. */
const SHORT_EDGE = 24;

export interface Handles {
  /** Outlines of the selected polygon. */
  rings: Ring[];
  /** The corner that keys move. */
  current: Position | undefined;
  onCorner: (event: PointerEvent, at: Position) => void;
  onDelete: (at: Position) => void;
  /** Called with the edge whose middle is pressed. */
  onEdge: (event: PointerEvent, start: Position, end: Position) => void;
}

export class PolygonDrawing {
  readonly root = document.createElementNS(SVG, "svg");
  private readonly content = make("g", {});

  constructor(private readonly viewport: Viewport) {
    this.root.setAttribute("aria-hidden", "true");
    this.root.append(this.content);
  }

  draw(shapes: Shape[], selected: number | undefined, handles: Handles): void {
    const { scale, left, top } = this.viewport;
    this.content.setAttribute("transform", `translate(${left} ${top}) scale(${scale})`);
    this.content.replaceChildren(...shapes.map((shape, i) => path(shape, i === selected)), ...this.handles(handles));
  }

  private handles(handles: Handles): SVGElement[] {
    const corners = handles.rings.reduce((sum, ring) => sum + ring.length, 0);
    return handles.rings.flatMap((ring) =>
      ring.slice(0, -1).flatMap((at, i) => {
        if (corners >= MAX_HANDLES && !this.isInView(at)) return [];
        const next = ring[i + 1];
        const isLong = Math.hypot(next[0] - at[0], next[1] - at[1]) * this.viewport.scale > SHORT_EDGE;
        return [...(isLong ? [this.middle(at, next, handles)] : []), this.corner(at, handles)];
      }),
    );
  }

  private isInView([x, y]: Position): boolean {
    const { scale, left, top } = this.viewport;
    const [px, py] = [x * scale + left, y * scale + top];
    return px >= 0 && py >= 0 && px <= this.root.clientWidth && py <= this.root.clientHeight;
  }

  private corner(at: Position, { current, onCorner, onDelete }: Handles): SVGElement {
    const isCurrent = current?.[0] === at[0] && current[1] === at[1];
    const handle = this.circle(at, isCurrent ? 8 : 6, isCurrent ? "#ffd400" : "#fff", "corner");
    handle.addEventListener("pointerdown", (event) => onCorner(event, at));
    handle.addEventListener("dblclick", (event) => {
      event.stopPropagation();
      onDelete(at);
    });
    return handle;
  }

  private middle(start: Position, end: Position, { onEdge }: Handles): SVGElement {
    const handle = this.circle([(start[0] + end[0]) / 2, (start[1] + end[1]) / 2], 4, "#9cf", "middle");
    handle.addEventListener("pointerdown", (event) => onEdge(event, start, end));
    return handle;
  }

  private circle([x, y]: Position, radius: number, fill: string, name: string): SVGElement {
    return make("circle", { cx: x, cy: y, r: radius / this.viewport.scale, fill, stroke: "#000", "vector-effect": "non-scaling-stroke", class: name });
  }
}

function path({ polygons, color }: Shape, isSelected: boolean): SVGElement {
  const [opacity, width] = isSelected ? [0.6, 2] : [0.4, 1];
  return make("path", { d: outline(polygons), "fill-rule": "evenodd", fill: color, "fill-opacity": opacity, stroke: "#fff", "stroke-width": width, "vector-effect": "non-scaling-stroke" });
}

function make(name: string, attributes: Record<string, string | number>): SVGElement {
  const node = document.createElementNS(SVG, name) as SVGElement;
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, String(value));
  return node;
}
