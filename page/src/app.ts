/** Brings the parts together: what is shown, what is asked of the server, and what the user does. */

import { Api, Cancelled, type Description, Refusal } from "./api";
import { ClassList, type Row } from "./class-list";
import { colourTable, heat, type Mode, safePalette } from "./colours";
import { byId, percent } from "./dom";
import { listenForPhotographs } from "./intake";
import { compare, type Comparison, LabelMap } from "./label-map";
import type { Picture } from "./draw";
import { askForPicture, makePhoto, makePicture, type Photo } from "./photos";
import { type Result, Results } from "./results";
import { Side } from "./side";
import { type PaneContent, type Point, Stage } from "./stage";
import { showStrip } from "./strip";

const DIFFERENT = 0xff00c8;
/** Of models whose description the server keeps to itself. */
const USUAL_BACKGROUND = "background";

export class App {
  readonly api: Api;
  readonly descriptions = new Map<string, Description>();
  readonly results: Results;
  readonly stage: Stage;
  readonly classes: ClassList;
  readonly sideA: Side;
  readonly sideB: Side;
  readonly photos: Photo[] = [];
  current: Photo | undefined;
  /** Called when another mask is shown. */
  onShow: () => void = () => {};
  onClick: (pixel: Point) => void = () => {};
  private partial: { key: string; result: Result } | undefined;
  private compared: { a: LabelMap; b: LabelMap; comparison: Comparison; map: LabelMap } | undefined;
  private working: AbortController | undefined;
  private fallbackModel: string;

  constructor() {
    const meta = (name: string) => document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)!.content;
    this.api = new Api(new URL(meta("api").replace(/\/?$/, "/"), document.baseURI));
    this.fallbackModel = meta("model");
    this.results = new Results(this.api, (model) => this.descriptions.get(model));
    this.stage = new Stage({ onPoint: (pixel, pane) => this.read(pixel, pane), onClick: (pixel) => this.onClick(pixel) });
    this.classes = new ClassList(() => this.show(), (row) => void this.explain(row));
    this.sideA = new Side(byId("side-a"), () => this.sidesChanged());
    this.sideB = new Side(byId("side-b"), () => this.sidesChanged());
    this.listen();
  }

  async start(): Promise<void> {
    listenForPhotographs((files) => this.add(files), (text) => this.notice(text));
    await this.guarded(async () => {
      const names = await this.api.models(this.fallbackModel);
      this.sideA.setModels(names, names[0]);
      this.sideB.setModels(names, names[1] ?? names[0]);
      await this.learn(names[0]);
    });
    this.show();
  }

  get resultA(): Result | undefined {
    return this.resultOf(this.sideA);
  }

  get resultB(): Result | undefined {
    return this.isComparing ? this.resultOf(this.sideB) : undefined;
  }

  get isComparing(): boolean {
    return byId<HTMLInputElement>("compare").checked;
  }

  notice(text: string): void {
    byId("notice").textContent = text;
    byId("notice").hidden = !text;
  }

  /** Runs work that asks the server; asks the user for a token where one is wanted, and says what went wrong. */
  async guarded(work: () => Promise<void>): Promise<boolean> {
    for (;;) {
      try {
        await work();
        this.notice("");
        return true;
      } catch (error) {
        if (error instanceof Cancelled) return false;
        if (error instanceof Refusal && error.wantsToken && (await this.askForToken(error.message))) continue;
        this.notice(error instanceof Error ? error.message : String(error));
        return false;
      }
    }
  }

  private listen(): void {
    for (const mode of document.querySelectorAll<HTMLInputElement>('input[name="mode"], input[name="compare-by"]')) mode.addEventListener("change", () => this.show());
    for (const id of ["swipe", "safe"]) byId(id).addEventListener("change", () => this.show());
    byId("compare").addEventListener("change", () => this.sidesChanged());
    this.listenToSliders();
    byId("zoom-in").addEventListener("click", () => this.stage.zoom(1.5));
    byId("zoom-out").addEventListener("click", () => this.stage.zoom(1 / 1.5));
    byId("zoom-fit").addEventListener("click", () => this.stage.fit());
    byId("cancel").addEventListener("click", () => this.cancel());
    byId("retry").addEventListener("click", () => this.current && this.again(this.current));
    window.addEventListener("offline", () => this.notice("This device is offline; what is shown stays, new photographs have to wait."));
    window.addEventListener("online", () => this.notice(""));
    this.listenToPeek();
    const bar = byId<HTMLCanvasElement>("scale-bar").getContext("2d")!;
    for (let x = 0; x < 256; x++) {
      bar.fillStyle = `#${heat(x / 255).toString(16).padStart(6, "0")}`;
      bar.fillRect(x, 0, 1, 1);
    }
  }

  private listenToSliders(): void {
    const [opacity, threshold] = [byId<HTMLInputElement>("opacity"), byId<HTMLInputElement>("threshold")];
    opacity.addEventListener("input", () => {
      byId("opacity-value").textContent = `${opacity.value} %`;
      this.stage.setOpacity(this.opacity);
    });
    threshold.addEventListener("input", () => {
      byId("threshold-value").textContent = `${threshold.value} %`;
      this.show(true);
    });
  }

  private listenToPeek(): void {
    const peek = (on: boolean) => this.stage.hideMasks(on || byId<HTMLInputElement>("edit").checked);
    const held = byId("peek");
    held.addEventListener("pointerdown", () => peek(true));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) held.addEventListener(end, () => peek(false));
    const isPeek = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (target === held && (event.key === " " || event.key === "Enter")) return true;
      return event.key.toLowerCase() === "p" && !event.ctrlKey && !event.metaKey && !target.closest("select, input:not([type=range], [type=checkbox], [type=radio]), textarea, dialog");
    };
    document.addEventListener("keydown", (event) => isPeek(event) && peek(true));
    document.addEventListener("keyup", (event) => isPeek(event) && peek(false));
  }

  private async askForToken(reason: string): Promise<boolean> {
    const dialog = byId<HTMLDialogElement>("token");
    byId("token-text").textContent = reason;
    const input = byId<HTMLInputElement>("token-value");
    input.value = "";
    if (dialog.open) return false;
    dialog.returnValue = "no";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "use" || !input.value) return false;
    this.api.token = input.value;
    return true;
  }

  /** Learns a model's classes and options, once. */
  private async learn(model: string): Promise<void> {
    if (this.descriptions.has(model)) return;
    const description = await this.api.describe(model);
    if (!description) return this.classes.hideAtFirst(USUAL_BACKGROUND);
    this.descriptions.set(model, description);
    if (description.background !== null) this.classes.hideAtFirst(description.classes[description.background]);
  }

  private add(files: { blob: Blob; name: string }[]): void {
    const added = files.map(({ blob, name }) => makePhoto(blob, name));
    this.photos.push(...added);
    this.select(added[0]);
  }

  private select(photo: Photo): void {
    this.current = photo;
    this.show();
    this.releasePictures();
    void this.work();
  }

  private again(photo: Photo): void {
    photo.state = "waiting";
    this.select(photo);
  }

  private sidesChanged(): void {
    byId("comparison").hidden = !this.isComparing;
    for (const photo of this.photos) if (photo.state !== "running") photo.state = photo === this.current ? "waiting" : photo.state;
    this.working?.abort();
    this.working = undefined;
    this.show();
    void this.work();
  }

  private cancel(): void {
    this.working?.abort();
    for (const photo of this.photos) if (photo.state === "waiting" || photo.state === "running") photo.state = "cancelled";
    this.show();
  }

  /** Works through what waits, the selected photograph first. One loop at a time. */
  private async work(): Promise<void> {
    if (this.working) return;
    const controller = (this.working = new AbortController());
    try {
      for (let photo = this.next(); photo && !controller.signal.aborted; photo = this.next()) await this.process(photo, controller.signal);
    } finally {
      if (this.working === controller) {
        this.working = undefined;
        byId("busy").hidden = true;
      }
    }
  }

  private next(): Photo | undefined {
    const { current } = this;
    if (current && current.state !== "failed" && current.state !== "cancelled" && !this.isComplete(current)) return current;
    return this.photos.find((photo) => photo.state === "waiting");
  }

  private isComplete(photo: Photo): boolean {
    const sides = this.isComparing ? [this.sideA, this.sideB] : [this.sideA];
    return photo.picture !== undefined && sides.every((side) => this.results.get(this.key(photo, side)));
  }

  private async process(photo: Photo, signal: AbortSignal): Promise<void> {
    photo.state = "running";
    delete photo.reason;
    this.showBusy(photo, "reading");
    try {
      await this.askFor(photo, signal);
      photo.state = "done";
    } catch (error) {
      if (error instanceof Cancelled) {
        if (photo.state === "running") photo.state = this.working?.signal === signal ? "cancelled" : "waiting";
      } else if (error instanceof Refusal && error.wantsToken && (await this.askForToken(error.message))) {
        photo.state = "waiting";
      } else {
        photo.state = "failed";
        photo.reason = error instanceof Error ? error.message : String(error);
      }
    }
    if (!signal.aborted) this.show();
  }

  private async askFor(photo: Photo, signal: AbortSignal): Promise<void> {
    const picture = photo.picture ? Promise.resolve(photo.picture) : makePicture(photo);
    for (const side of this.isComparing ? [this.sideA, this.sideB] : [this.sideA]) {
      const [key, name, options] = [this.key(photo, side), side.name, side.options];
      if (this.results.get(key)) continue;
      await this.learn(name);
      const onProgress = (share: number) => this.showBusy(photo, share < 1 ? "sending" : `${name} is segmenting`, share);
      this.showBusy(photo, `${name} is segmenting`);
      await this.results.load(key, name, photo.file, options, { signal, onProgress }, (result) => {
        this.partial = { key, result };
        if (photo.picture) this.show();
        else void picture.then((made) => this.showPicture(photo, made, result.map));
      });
      this.show();
    }
    this.showPicture(photo, await picture, this.results.get(this.key(photo, this.sideA))?.map);
    photo.picture ??= await askForPicture(photo, this.api, this.sideA.name, signal);
    photo.thumbnail ??= photo.picture.thumbnail(132, 102);
    this.releasePictures();
  }

  private releasePictures(): void {
    for (const photo of this.photos) {
      if (photo === this.current) continue;
      photo.picture?.close();
      delete photo.picture;
    }
  }

  /** Shows the browser's picture, if it is what the server saw. */
  private showPicture(photo: Photo, picture: Picture | undefined, map: LabelMap | undefined): void {
    if (photo.picture || !picture || picture.width !== map?.width || picture.height !== map.height) return;
    photo.picture = picture;
    if (photo === this.current) this.show();
  }

  private key(photo: Photo, side: Side): string {
    return `${photo.id} ${side.key}`;
  }

  private resultOf(side: Side): Result | undefined {
    if (!this.current) return undefined;
    const key = this.key(this.current, side);
    return this.results.get(key) ?? (this.partial?.key === key ? this.partial.result : undefined);
  }

  private showBusy(photo: Photo, doing: string, share?: number): void {
    const many = this.photos.length > 1 ? ` (${this.photos.indexOf(photo) + 1} of ${this.photos.length})` : "";
    byId("busy").hidden = false;
    byId("busy-text").textContent = `${doing}${many} …`;
    const progress = byId<HTMLProgressElement>("progress");
    if (share === undefined || share >= 1) progress.removeAttribute("value");
    else progress.value = share;
  }

  private get opacity(): number {
    return Number(byId<HTMLInputElement>("opacity").value) / 100;
  }

  /** Draws everything for the selected photograph. `live`: a slider moves, so lists stay as they are. */
  show(live = false): void {
    const { current } = this;
    byId("empty").hidden = current !== undefined;
    byId("bar").hidden = !current?.picture;
    byId("failure").hidden = current?.state !== "failed" && current?.state !== "cancelled";
    byId("failure-text").textContent = current?.state === "cancelled" ? "Cancelled." : (current?.reason ?? "");
    byId("scale").hidden = this.mode !== "confidence";
    if (!live) showStrip(this.photos, current, (photo) => (photo.state === "cancelled" ? this.again(photo) : this.select(photo)));
    const isBroken = current?.state === "failed" || current?.state === "cancelled";
    const a = isBroken ? undefined : this.resultA?.map;
    const b = isBroken ? undefined : this.resultB?.map;
    this.comparison(a, b);
    if (!live) this.showClasses(a, b);
    const panes = this.panes(a, b);
    const isDivided = panes.some((pane) => pane.layers.some((layer) => layer.clip !== "all"));
    this.stage.show(current?.picture && !isBroken ? { picture: current.picture, panes, opacity: this.opacity, divided: isDivided } : undefined);
    if (live) this.stage.move();
    else this.onShow();
  }

  private get mode(): Mode {
    return document.querySelector<HTMLInputElement>('input[name="mode"]:checked')!.value as Mode;
  }

  private comparison(a: LabelMap | undefined, b: LabelMap | undefined): Comparison | undefined {
    if (!a || !b) return (this.compared = undefined);
    if (this.compared?.a === a && this.compared.b === b) return this.compared.comparison;
    const comparison = compare(a, b);
    const map = new LabelMap(a.width, a.height, comparison.difference, ["the same", "different"], [0, DIFFERENT]);
    this.compared = { a, b, comparison, map };
    return comparison;
  }

  private panes(a: LabelMap | undefined, b: LabelMap | undefined): PaneContent[] {
    const layer = (map: LabelMap | undefined, clip: "all" | "left" | "right") => (map ? [{ map, table: this.table(map), outlined: this.mode === "outline", clip }] : []);
    const by = document.querySelector<HTMLInputElement>('input[name="compare-by"]:checked')!.value;
    const isSwiping = byId<HTMLInputElement>("swipe").checked;
    if (!this.isComparing) return [{ layers: layer(a, isSwiping ? "right" : "all"), names: isSwiping ? ["photograph", "mask"] : [] }];
    const names = [this.sideA.title, this.sideB.title];
    if (by === "side") return [{ layers: layer(a, "all"), names: [names[0]] }, { layers: layer(b, "all"), names: [names[1]] }];
    if (by === "swipe") return [{ layers: [...layer(a, "left"), ...layer(b, "right")], names }];
    if (!this.compared) return [{ layers: [], names: [] }];
    const table = colourTable({ mode: "tint", threshold: 0, palette: [0, DIFFERENT], isVisible: (index) => index === 1 });
    return [{ layers: [{ map: this.compared.map, table, outlined: false, clip: isSwiping ? "right" : "all" }], names: ["where they differ"] }];
  }

  private table(map: LabelMap): Uint32Array {
    const threshold = map.hasConfidence ? Math.ceil(Number(byId<HTMLInputElement>("threshold").value) * 2.55) : 0;
    return colourTable({ mode: this.mode, threshold, palette: this.palette(map), isVisible: (index) => this.classes.isVisible(map.names[index]) });
  }

  /** Colours by class; those for colour blindness go to the names that either mask has, so that both sides agree. */
  private palette(map: LabelMap): number[] {
    if (!byId<HTMLInputElement>("safe").checked) return map.palette;
    const present = [...new Set([this.resultA, this.resultB].flatMap((result) => (result ? this.shares(result.map).map(({ index }) => result.map.names[index]) : [])))];
    const background = this.background;
    const ordered = present.filter((name) => name !== background);
    return safePalette(map.names.length, ordered.map((name) => map.names.indexOf(name)));
  }

  private get background(): string | undefined {
    const description = this.descriptions.get(this.sideA.name);
    if (!description) return USUAL_BACKGROUND;
    return description.background === null ? undefined : description.classes[description.background];
  }

  private readonly sharesOf = new WeakMap<LabelMap, { known: boolean; shares: ReturnType<LabelMap["shares"]> }>();

  private shares(map: LabelMap): ReturnType<LabelMap["shares"]> {
    const kept = this.sharesOf.get(map);
    if (kept && kept.known === map.hasConfidence) return kept.shares;
    const shares = map.shares();
    this.sharesOf.set(map, { known: map.hasConfidence, shares });
    return shares;
  }

  private showClasses(a: LabelMap | undefined, b: LabelMap | undefined): void {
    const rows: Row[] = [];
    for (const map of [a, b]) {
      if (!map) continue;
      const palette = this.palette(map);
      for (const share of this.shares(map)) {
        const name = map.names[share.index];
        if (rows.some((row) => row.name === name)) continue;
        rows.push({ ...share, ...(map === b && { fraction: 0, score: undefined }), name, colour: palette[share.index], iou: this.compared?.comparison.iou.get(name) });
      }
    }
    this.classes.show(rows, this.descriptions.get(this.sideA.name)?.explanations ?? false);
    byId("summary").textContent = this.summary(a, rows);
    byId("agreement").textContent = this.compared ? `The two agree on ${percent(this.compared.comparison.agreement, 2)} of the pixels.` : "";
  }

  private summary(a: LabelMap | undefined, rows: Row[]): string {
    const { current } = this;
    if (!current) return "No photograph yet.";
    if (current.state === "failed") return "The server refused this photograph.";
    if (!a) return current.state === "cancelled" ? "Cancelled." : "Waiting for the mask …";
    const names = rows.filter((row) => row.name !== this.background && row.fraction).map((row) => `${row.name} ${percent(row.fraction, 0)}`);
    return `${current.name}, ${a.width} × ${a.height}: ${names.join(", ") || "nothing but background"}.`;
  }

  private read(pixel: Point | undefined, pane: number): void {
    if (!pixel || !this.current) return;
    const side = (result: Result | undefined) => {
      if (!result) return "…";
      const { index, confidence } = result.map.at(pixel.x, pixel.y);
      return `${result.map.names[index]}${confidence === undefined ? "" : ` ${percent(confidence)}`}`;
    };
    const isBoth = this.isComparing && pane === 0 && !byId("divider").hidden;
    const text = this.isComparing && (isBoth || this.compared)
      ? `${this.sideA.title}: ${side(this.resultA)} | ${this.sideB.title}: ${side(this.resultB)}`
      : side(pane ? this.resultB : this.resultA);
    byId("readout").textContent = `x ${pixel.x}, y ${pixel.y}: ${text}`;
  }

  private async explain(row: Row): Promise<void> {
    const { current, sideA } = this;
    // The row may be of the other model, which numbers its classes in its own way.
    const index = this.resultA?.map.names.indexOf(row.name) ?? -1;
    if (!current || index < 0) return this.notice(`${sideA.name} does not know the class ${row.name}.`);
    const [dialog, image, text] = [byId<HTMLDialogElement>("explanation"), byId<HTMLImageElement>("explanation-image"), byId("explanation-text")];
    const controller = new AbortController();
    byId("explanation-title").textContent = `Why ${row.name}?`;
    text.textContent = "Asking the model …";
    image.hidden = true;
    byId("explanation-close").onclick = () => dialog.close();
    dialog.onclose = () => {
      controller.abort();
      URL.revokeObjectURL(image.src);
    };
    dialog.showModal();
    try {
      const answer = await this.api.explain(sideA.name, current.file, { classes: String(index) }, { signal: controller.signal });
      image.src = URL.createObjectURL(new Blob([answer.bytes], { type: "image/png" }));
      image.alt = `The photograph, tinted by how much each part speaks for ${row.name}`;
      image.hidden = false;
      text.textContent = `Red parts speak most for ${row.name}, blue ones least.`;
    } catch (error) {
      if (!(error instanceof Cancelled)) text.textContent = error instanceof Error ? error.message : String(error);
    }
  }
}
