/** The user's photographs, and the loop that fetches their masks: one at a time, the selected one first. */

import { type Api, Cancelled, Refusal } from "./api";
import { byId } from "./dom";
import type { Picture } from "./draw";
import type { LabelMap } from "./label-map";
import { fetchPicture, makePhoto, makePicture, type Photo } from "./photos";
import type { Result, Results } from "./results";
import type { Side } from "./side";
import { askForToken } from "./token";

export interface QueueEvents {
  /** The models to use, with their settings. */
  sides: () => Side[];
  /** Fetches a model's description before its first use. */
  learn: (model: string) => Promise<void>;
  /** Called when a different photograph, mask or state should be shown. */
  onChange: () => void;
}

export class Queue {
  readonly photos: Photo[] = [];
  current: Photo | undefined;
  /** A mask whose confidences have not loaded yet. */
  private partial: { key: string; result: Result } | undefined;
  private working: AbortController | undefined;

  constructor(
    private readonly api: Api,
    private readonly results: Results,
    private readonly events: QueueEvents,
  ) {
    byId("cancel").addEventListener("click", () => this.cancel());
    byId("retry").addEventListener("click", () => this.current && this.again(this.current));
  }

  add(files: { blob: Blob; name: string }[]): void {
    const added = files.map(({ blob, name }) => makePhoto(blob, name));
    this.photos.push(...added);
    this.select(added[0]);
  }

  /** Shows a photograph, and restarts it if it was cancelled. */
  choose(photo: Photo): void {
    if (photo.state === "cancelled") this.again(photo);
    else this.select(photo);
  }

  /** Returns the selected photograph's mask for one side, if it has loaded. */
  resultOf(side: Side): Result | undefined {
    if (!this.current) return undefined;
    const key = keyOf(this.current, side);
    return this.results.get(key) ?? (this.partial?.key === key ? this.partial.result : undefined);
  }

  /** Starts over with other models or settings. */
  restart(): void {
    if (this.current && this.current.state !== "running") this.current.state = "waiting";
    this.working?.abort();
    this.working = undefined;
    this.events.onChange();
    void this.work();
  }

  private select(photo: Photo): void {
    this.current = photo;
    this.events.onChange();
    this.releasePictures();
    void this.work();
  }

  private again(photo: Photo): void {
    photo.state = "waiting";
    this.select(photo);
  }

  private cancel(): void {
    this.working?.abort();
    for (const photo of this.photos) if (photo.state === "waiting" || photo.state === "running") photo.state = "cancelled";
    this.events.onChange();
  }

  /** Processes the waiting photographs. Only one loop runs at a time. */
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
    return photo.picture !== undefined && this.events.sides().every((side) => this.results.get(keyOf(photo, side)));
  }

  private async process(photo: Photo, signal: AbortSignal): Promise<void> {
    photo.state = "running";
    delete photo.reason;
    this.showBusy(photo, "reading");
    try {
      await this.fetchMasks(photo, signal);
      photo.state = "done";
    } catch (error) {
      if (error instanceof Cancelled) {
        if (photo.state === "running") photo.state = this.working?.signal === signal ? "cancelled" : "waiting";
      } else if (error instanceof Refusal && error.wantsToken && (await askForToken(this.api, error.message))) {
        photo.state = "waiting";
      } else {
        photo.state = "failed";
        photo.reason = error instanceof Error ? error.message : String(error);
      }
    }
    if (!signal.aborted) this.events.onChange();
  }

  private async fetchMasks(photo: Photo, signal: AbortSignal): Promise<void> {
    const picture = photo.picture ? Promise.resolve(photo.picture) : makePicture(photo);
    const [first, ...others] = this.events.sides();
    const map = await this.fetchMask(photo, first, picture, signal);
    for (const side of others) await this.fetchMask(photo, side, picture, signal);
    this.showPicture(photo, await picture, map);
    photo.picture ??= await fetchPicture(photo, this.api, first.name, signal);
    photo.thumbnail ??= photo.picture.thumbnail(132, 102);
    this.releasePictures();
  }

  private async fetchMask(photo: Photo, side: Side, picture: Promise<Picture | undefined>, signal: AbortSignal): Promise<LabelMap> {
    const [key, name, options] = [keyOf(photo, side), side.name, side.options];
    const earlier = this.results.get(key);
    if (earlier) return earlier.map;
    await this.events.learn(name);
    const onProgress = (share: number) => this.showBusy(photo, share < 1 ? "sending" : `${name} is segmenting`, share);
    this.showBusy(photo, `${name} is segmenting`);
    const { map } = await this.results.load(key, name, photo.file, options, { signal, onProgress }, (result) => {
      this.partial = { key, result };
      if (photo.picture) this.events.onChange();
      else void picture.then((loaded) => this.showPicture(photo, loaded, result.map));
    });
    this.events.onChange();
    return map;
  }

  private releasePictures(): void {
    for (const photo of this.photos) {
      if (photo === this.current) continue;
      photo.picture?.close();
      delete photo.picture;
    }
  }

  /** Shows the browser's picture if it has the size that the server saw. */
  private showPicture(photo: Photo, picture: Picture | undefined, map: LabelMap): void {
    if (photo.picture || !picture || picture.width !== map.width || picture.height !== map.height) return;
    photo.picture = picture;
    if (photo === this.current) this.events.onChange();
  }

  private showBusy(photo: Photo, doing: string, share?: number): void {
    const many = this.photos.length > 1 ? ` (${this.photos.indexOf(photo) + 1} of ${this.photos.length})` : "";
    byId("busy").hidden = false;
    byId("busy-text").textContent = `${doing}${many} …`;
    const progress = byId<HTMLProgressElement>("progress");
    if (share === undefined || share >= 1) progress.removeAttribute("value");
    else progress.value = share;
  }
}

function keyOf(photo: Photo, side: Side): string {
  return `${photo.id} ${side.key}`;
}
