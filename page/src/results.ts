/** Requests masks from the server, and caches the latest. */

import type { Answer, Api, Call, Description, Options } from "./api";
import { LabelMap } from "./label-map";
import { decodePng } from "./png";

/** The most masks kept in memory; one of 12 megapixels takes 24 MB. */
const MAX_RESULTS = 8;

export interface Result {
  map: LabelMap;
  answer: Answer;
  /** Milliseconds of each step on the page, including waiting, in order. */
  timings: [string, number][];
}

export class Results {
  private readonly cache = new Map<string, Result>();

  constructor(
    private readonly api: Api,
    private readonly describe: (model: string) => Description | undefined,
  ) {}

  get(key: string): Result | undefined {
    return this.cache.get(key);
  }

  /** Requests the mask, which goes to `onMask` immediately, then its confidences. */
  async load(key: string, model: string, image: Blob, options: Options, call: Call, onMask: (result: Result) => void): Promise<Result> {
    const format = (this.describe(model)?.classes.length ?? 0) > 256 ? "index" : "png";
    const answer = await this.api.predict(model, image, { ...options, format }, call);
    let began = performance.now();
    const colours = this.describe(model)?.palette.map((colour) => parseInt(colour.slice(1), 16));
    const map = LabelMap.fromPng(await decodePng(answer.bytes), colours);
    const result: Result = { map, answer, timings: [["mask, request to response", answer.milliseconds], ["decoding the mask", performance.now() - began]] };
    onMask(result);
    const confidence = await this.api.predict(model, image, { ...options, format: "confidence" }, { signal: call.signal });
    began = performance.now();
    map.addConfidence(await decodePng(confidence.bytes));
    result.timings.push(["confidences, request to response", confidence.milliseconds], ["decoding the confidences", performance.now() - began]);
    this.store(key, result);
    return result;
  }

  private store(key: string, result: Result): void {
    this.cache.set(key, result);
    for (const oldest of this.cache.keys()) {
      if (this.cache.size <= MAX_RESULTS) break;
      this.cache.delete(oldest);
    }
  }
}
