/** Connects the parts: the view, the requests to the server, and user input. */

import { Api, Cancelled, type Description, Refusal } from "./api";
import { ClassList, type Row } from "./class-list";
import { Controls } from "./controls";
import { byId, percent } from "./dom";
import { explain } from "./explanation";
import { listenForPhotographs } from "./intake";
import type { LabelMap } from "./label-map";
import { Masks } from "./masks";
import type { Photo } from "./photos";
import { Queue } from "./queue";
import { type Result, Results } from "./results";
import { Side } from "./side";
import { type Point, Stage } from "./stage";
import { showStrip } from "./strip";
import { askForToken } from "./token";

/** The background class of models that the server does not describe. */
const USUAL_BACKGROUND = "background";

export class App {
  readonly api: Api;
  readonly descriptions = new Map<string, Description>();
  readonly stage: Stage;
  readonly sideA: Side;
  readonly sideB: Side;
  /** Called when a different mask is shown. */
  onShow: () => void = () => {};
  onClick: (pixel: Point) => void = () => {};
  private readonly controls: Controls;
  private readonly queue: Queue;
  private readonly masks: Masks;
  private readonly classes: ClassList;
  private readonly fallbackModel: string;

  constructor() {
    const meta = (name: string) => document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)!.content;
    this.api = new Api(new URL(meta("api").replace(/\/?$/, "/"), document.baseURI));
    this.fallbackModel = meta("model");
    this.stage = new Stage({ onPoint: (pixel, pane) => this.read(pixel, pane), onClick: (pixel) => this.onClick(pixel) });
    this.controls = new Controls(this.stage, (live) => this.show(live));
    this.masks = new Masks(this.controls);
    this.classes = new ClassList(() => this.show(true), (row) => void this.explain(row));
    const results = new Results(this.api, (model) => this.descriptions.get(model));
    this.queue = new Queue(this.api, results, { sides: () => this.sides, learn: (model) => this.learn(model), onChange: () => this.show() });
    this.sideA = new Side(byId("side-a"), () => this.sidesChanged());
    this.sideB = new Side(byId("side-b"), () => this.sidesChanged());
    byId("compare").addEventListener("change", () => this.sidesChanged());
    window.addEventListener("offline", () => this.notice("This device is offline: the masks shown here stay, but new photographs have to wait."));
    window.addEventListener("online", () => this.notice(""));
  }

  async start(): Promise<void> {
    listenForPhotographs((files) => this.queue.add(files), (text) => this.notice(text));
    await this.guarded(async () => {
      const names = await this.api.models(this.fallbackModel);
      this.sideA.setModels(names, names[0]);
      this.sideB.setModels(names, names[1] ?? names[0]);
      await this.learn(names[0]);
    });
    this.show();
  }

  get current(): Photo | undefined {
    return this.queue.current;
  }

  get resultA(): Result | undefined {
    return this.queue.resultOf(this.sideA);
  }

  /** The background class, if the model has one. */
  get background(): string | undefined {
    const description = this.descriptions.get(this.sideA.name);
    if (!description) return USUAL_BACKGROUND;
    return description.background === null ? undefined : description.classes[description.background];
  }

  /** Draws everything for the selected photograph; with `live`, during a gesture, the rest of the page stays as it is. */
  show(live = false): void {
    const { current } = this;
    const isBroken = current?.state === "failed" || current?.state === "cancelled";
    byId("empty").hidden = current !== undefined;
    byId("bar").hidden = !current?.picture;
    byId("failure").hidden = !isBroken;
    byId("failure-text").textContent = current?.state === "cancelled" ? "Cancelled." : (current?.reason ?? "");
    byId("scale").hidden = this.controls.mode !== "confidence";
    if (!live) showStrip(this.queue.photos, current, (photo) => this.queue.choose(photo));
    const [a, b] = isBroken ? [undefined, undefined] : [this.resultA?.map, this.resultB?.map];
    this.masks.take({ a, b, titles: [this.sideA.title, this.sideB.title], background: this.background, isVisible: (name) => this.classes.isVisible(name) });
    if (!live) this.showClasses(a);
    const panes = this.masks.panes();
    const divided = panes.some((pane) => pane.layers.some((layer) => layer.clip !== "all"));
    this.stage.show(current?.picture && !isBroken ? { picture: current.picture, panes, opacity: this.controls.opacity, divided } : undefined);
    if (live) this.stage.move();
    else this.onShow();
  }

  private get sides(): Side[] {
    return this.controls.isComparing ? [this.sideA, this.sideB] : [this.sideA];
  }

  private get resultB(): Result | undefined {
    return this.controls.isComparing ? this.queue.resultOf(this.sideB) : undefined;
  }

  private notice(text: string): void {
    byId("notice").textContent = text;
    byId("notice").hidden = !text;
  }

  /** Runs work that calls the server; asks the user for a token if one is needed, and shows errors. */
  private async guarded(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await work();
        return this.notice("");
      } catch (error) {
        if (error instanceof Cancelled) return;
        if (error instanceof Refusal && error.wantsToken && (await askForToken(this.api, error.message))) continue;
        return this.notice(error instanceof Error ? error.message : String(error));
      }
    }
  }

  /** Fetches a model's classes and options, once. */
  private async learn(model: string): Promise<void> {
    if (this.descriptions.has(model)) return;
    const description = await this.api.describe(model);
    if (!description) return this.classes.hideAtFirst(USUAL_BACKGROUND);
    this.descriptions.set(model, description);
    if (description.background !== null) this.classes.hideAtFirst(description.classes[description.background]);
  }

  private sidesChanged(): void {
    byId("comparison").hidden = !this.controls.isComparing;
    this.queue.restart();
  }

  private showClasses(a: LabelMap | undefined): void {
    const rows = this.masks.rows();
    this.classes.show(rows, this.descriptions.get(this.sideA.name)?.explanations ?? false);
    byId("summary").textContent = this.summary(a, rows);
    const { comparison } = this.masks;
    byId("agreement").textContent = comparison ? `The two agree on ${percent(comparison.agreement, 2)} of the pixels. The class list shows the overlap of each class.` : "";
  }

  private summary(a: LabelMap | undefined, rows: Row[]): string {
    const { current } = this;
    if (!current) return "No photograph yet.";
    if (current.state === "failed") return "There is no mask for this photograph.";
    if (!a) return current.state === "cancelled" ? "Cancelled." : "Waiting for the mask …";
    const names = rows.filter((row) => row.name !== this.background && row.fraction).map((row) => `${row.name} ${percent(row.fraction, 0)}`);
    return `${current.name}, ${a.width} × ${a.height}: ${names.join(", ") || "only background"}.`;
  }

  /** Shows the class and confidence at a pixel, by both models if both are shown there. */
  private read(pixel: Point | undefined, pane: number): void {
    if (!pixel || !this.current) return;
    const side = (result: Result | undefined) => {
      if (!result) return "…";
      const { index, confidence } = result.map.at(pixel.x, pixel.y);
      return `${result.map.names[index]}${confidence === undefined ? "" : ` ${percent(confidence)}`}`;
    };
    const text = this.controls.isComparing
      ? `${this.sideA.title}: ${side(this.resultA)} | ${this.sideB.title}: ${side(this.resultB)}`
      : side(pane ? this.resultB : this.resultA);
    byId("readout").textContent = `x ${pixel.x}, y ${pixel.y}: ${text}`;
  }

  private async explain({ name }: Row): Promise<void> {
    // Only the other model may have the class; class indices differ between models.
    const side = this.sides.find((candidate) => this.queue.resultOf(candidate)?.map.names.includes(name));
    const index = side && this.queue.resultOf(side)!.map.names.indexOf(name);
    if (this.current && side && index !== undefined) await explain(this.api, side.name, this.current, name, index);
  }
}
