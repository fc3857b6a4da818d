/** The part of the server's HTTP contract (docs/http-api.md) that the page uses. */

export type Options = Record<string, string>;

/** An error response, with the server's own message. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly type: string,
  ) {
    super(message);
  }

  get wantsToken(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

/** The server did not answer. */
export class Unreachable extends Error {
  constructor() {
    super("The server cannot be reached. Check that it is running and that this device is online, then try again.");
  }
}

export class Cancelled extends Error {}

export interface Answer {
  bytes: Uint8Array<ArrayBuffer>;
  contentType: string;
  /** Time from sending the request to the last byte. */
  milliseconds: number;
  /** Milliseconds of each stage, as reported by the server. */
  stages: [string, number][];
}

/** A model's own description (`customizedMetadata`); other entries are shown as received. */
export interface Description {
  model: string;
  version: string;
  classes: string[];
  palette: string[];
  background: number | null;
  explanations: boolean;
  formats: Record<string, { content_type: string; about: string }>;
  options: Record<string, { default?: unknown; description?: string; enum?: unknown[] }>;
  limits: Record<string, number>;
  [key: string]: unknown;
}

export interface Call {
  signal?: AbortSignal;
  /** Called with the share of the body that has been sent. */
  onProgress?: (share: number) => void;
}

export class Api {
  /** Kept in memory only. */
  token = "";

  constructor(readonly base: URL) {}

  /** Returns the names of the models, or only `fallback` if the server does not list them. */
  async models(fallback: string): Promise<string[]> {
    // The first path is this project's server's, for any token; the second is TorchServe's management API.
    const listing = (await this.unlessRefused("v1/models")) as { models?: string[] } | undefined;
    if (listing?.models) return listing.models;
    const managed = (await this.unlessRefused("models")) as { models?: { modelName: string }[] } | undefined;
    return managed?.models?.map((model) => model.modelName) ?? [fallback];
  }

  /** Returns a model's own description, or undefined if the server does not provide it here or to this token. */
  async describe(model: string): Promise<Description | undefined> {
    const entries = await this.unlessRefused(`models/${encodeURIComponent(model)}?customized=true`);
    return (entries as { customizedMetadata?: Description }[] | undefined)?.[0]?.customizedMetadata;
  }

  predict(model: string, image: Blob, options: Options, call: Call = {}): Promise<Answer> {
    return this.send("POST", `predictions/${encodeURIComponent(model)}`, call, image, options);
  }

  explain(model: string, image: Blob, options: Options, call: Call = {}): Promise<Answer> {
    return this.send("POST", `explanations/${encodeURIComponent(model)}`, call, image, options);
  }

  url(path: string): string {
    return new URL(path, this.base).href;
  }

  /** Returns the JSON at a path, or undefined if the server or a proxy has none for this page. */
  private async unlessRefused(path: string): Promise<unknown> {
    try {
      return JSON.parse(new TextDecoder().decode((await this.send("GET", path)).bytes));
    } catch (error) {
      if (error instanceof SyntaxError || (error instanceof Refusal && error.status !== 401 && error.status < 500)) return undefined;
      throw error;
    }
  }

  /** Sends with XMLHttpRequest, since fetch does not report upload progress. */
  private send(method: string, path: string, { signal, onProgress }: Call = {}, image?: Blob, options: Options = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(new Cancelled());
      const request = new XMLHttpRequest();
      const began = performance.now();
      request.open(method, this.url(path));
      request.responseType = "arraybuffer";
      if (this.token) request.setRequestHeader("Authorization", `Bearer ${this.token}`);
      if (onProgress) request.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 1);
      request.onload = () => {
        const bytes = new Uint8Array(request.response as ArrayBuffer);
        if (request.status >= 400) return reject(refusal(request.status, request.statusText, bytes));
        // Reading a header by name logs a console error if another origin does not expose it.
        const timing = /^server-timing:(.*)$/im.exec(request.getAllResponseHeaders())?.[1] ?? "";
        const contentType = request.getResponseHeader("Content-Type") ?? "";
        resolve({ bytes, contentType, milliseconds: performance.now() - began, stages: parseServerTiming(timing) });
      };
      request.onerror = () => reject(new Unreachable());
      request.onabort = () => reject(new Cancelled());
      signal?.addEventListener("abort", () => request.abort(), { once: true });
      if (!image) return request.send();
      const isForm = !fitHeaders(options);
      if (!isForm) {
        for (const [name, value] of Object.entries(options)) request.setRequestHeader(headerName(name), value);
        // Never the file's own type: a file that is not a photograph must not be parsed as a JSON request.
        request.setRequestHeader("Content-Type", "application/octet-stream");
      }
      request.send(isForm ? form(image, options) : image);
    });
  }
}

/** Returns whether options can be sent as headers, which are limited to ASCII. */
function fitHeaders(options: Options): boolean {
  return Object.values(options).every((value) => /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value));
}

/** Returns `X-Segment-Image-Name` for `image_name`. */
function headerName(option: string): string {
  return `X-Segment-${option.split("_").map((word) => word[0].toUpperCase() + word.slice(1)).join("-")}`;
}

function form(image: Blob, options: Options): FormData {
  const fields = new FormData();
  for (const [name, value] of Object.entries(options)) fields.set(name, value);
  // The file's own name is the option `image_name`, sent only if the answer contains it.
  fields.set("data", image, "photograph");
  return fields;
}

/** Reads the server's error body; a proxy's error page is reported by its status. */
export function refusal(status: number, statusText: string, bytes: Uint8Array): Refusal {
  try {
    const { message, type } = JSON.parse(new TextDecoder().decode(bytes)) as { message?: unknown; type?: unknown };
    if (typeof message === "string") return new Refusal(message, status, typeof type === "string" ? type : "");
  } catch {
    // Not JSON.
  }
  return new Refusal(status === 413 ? "The file is larger than the server allows." : `The server answered ${status} ${statusText}.`, status, "");
}

/** Reads `Server-Timing: decode;dur=1.7, network;dur=35.9`. */
export function parseServerTiming(header: string): [string, number][] {
  return [...header.matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, duration]) => [name, Number(duration)]);
}
