/** The timings of a mask, stage by stage, and the model card. */

import type { Description } from "./api";
import { byId, element } from "./dom";
import type { Result } from "./results";

/** Descriptions of the stages that the server times. */
const STAGES: Record<string, string> = {
  read: "receiving",
  queue: "waiting in the queue",
  decode: "decoding the photograph",
  prepare: "resizing the photograph",
  network: "network",
  label: "computing the mask",
  refine: "refining edges",
  encode: "encoding the answer",
};
/** Long lists that other parts of the page show. */
const ELSEWHERE = new Set(["classes", "palette", "formats", "options", "workers"]);

export function showTimings(result: Result | undefined): void {
  const rows = (result?.timings ?? []).map(([name, milliseconds]) => row(name, `${milliseconds.toFixed(0)} ms`));
  const stages = (result?.answer.stages ?? []).map(([name, milliseconds]) => row(`server: ${STAGES[name] ?? name}`, `${milliseconds.toFixed(1)} ms`));
  byId("timings").replaceChildren(...rows, ...stages);
  byId("no-timings").hidden = rows.length > 0;
}

export function showCard(description: Description | undefined): void {
  const entries = description ? flatten(description).filter(([name]) => !ELSEWHERE.has(name.split(" ")[0])) : [];
  byId("card").replaceChildren(...entries.map(([name, value]) => row(name, value)));
  byId("no-card").hidden = entries.length > 0;
}

function row(name: string, value: string): HTMLTableRowElement {
  return element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "number" }, value));
}

/** Lists the leaves of nested objects with their paths, omitting null and undefined. */
export function flatten(value: unknown, path = ""): [string, string][] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) return [[path, value.join(", ")]];
  if (typeof value === "object") return Object.entries(value).flatMap(([key, inner]) => flatten(inner, `${path} ${Array.isArray(value) ? Number(key) + 1 : key.replaceAll("_", " ")}`.trim()));
  return [[path, typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 4 }) : String(value)]];
}
