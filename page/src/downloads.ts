/** Downloads in every format of the API, and the same requests as a command line or a program. */

import type { App } from "./app";
import { Cancelled, type Options } from "./api";
import { byId, element, saveFile } from "./dom";
import type { Editor } from "./editor";
import { stem } from "./photos";

const SUFFIXES: Record<string, string> = {
  "application/json": ".json",
  "application/geo+json": ".geojson",
  "application/zip": ".zip",
  "application/x-npz": ".npz",
  "image/png": ".png",
  "image/jpeg": ".jpg",
};
/** The contract's formats, for servers that do not describe the model. */
const FORMATS: Record<string, string> = {
  ...Object.fromEntries(["json", "coco", "labelme", "labelstudio", "labelstudio_polygons", "cvat", "huggingface"].map((name) => [name, "application/json"])),
  geojson: "application/geo+json",
  coco_panoptic: "application/zip",
  npz: "application/x-npz",
  ...Object.fromEntries(["png", "index", "confidence", "uncertainty"].map((name) => [name, "image/png"])),
  overlay: "image/jpeg",
};
/** Titles of the formats; others are shown by name. */
const TITLES: Record<string, string> = {
  png: "Mask (PNG)",
  overlay: "Photograph with its mask (JPEG)",
  geojson: "Polygons (GeoJSON)",
  json: "Classes and masks (JSON)",
  index: "Class numbers (grey PNG)",
  confidence: "Confidence (grey PNG)",
  uncertainty: "Uncertainty (grey PNG)",
  npz: "Arrays for NumPy",
  coco: "COCO",
  coco_panoptic: "COCO panoptic",
  labelme: "Labelme",
  labelstudio: "Label Studio, brush",
  labelstudio_polygons: "Label Studio, polygons",
  cvat: "CVAT",
  huggingface: "Hugging Face",
};
const WITH_POLYGONS = ["geojson", "labelme", "labelstudio_polygons"];

export class Downloads {
  private readonly format = byId<HTMLSelectElement>("format");

  constructor(
    private readonly app: App,
    private readonly editor: Editor,
  ) {
    byId("download").addEventListener("click", () => void this.run(() => this.download()));
    byId("copy").addEventListener("click", () => void this.run(() => this.copy()));
    byId("copy-curl").addEventListener("click", () => void this.run(() => this.copyText(curlCommand(this.request()))));
    byId("copy-python").addEventListener("click", () => void this.run(() => this.copyText(pythonProgram(this.request()))));
    this.format.addEventListener("change", () => this.explainFormat());
  }

  /** Lists the model's formats, and enables the buttons once there is a mask. */
  refresh(): void {
    const names = Object.keys(this.formats);
    if (this.format.options.length !== names.length) {
      this.format.replaceChildren(...names.map((name) => element("option", { value: name }, TITLES[name] ?? name)));
      this.format.value = "png" in this.formats ? "png" : names[0];
      this.explainFormat();
    }
    const ready = this.app.resultA !== undefined && this.app.current?.state !== "failed";
    for (const id of ["download", "copy", "copy-curl", "copy-python"]) byId<HTMLButtonElement>(id).disabled = !ready;
  }

  private get formats(): Record<string, string> {
    const described = this.app.descriptions.get(this.app.sideA.name)?.formats;
    return described ? Object.fromEntries(Object.entries(described).map(([name, { content_type }]) => [name, content_type])) : FORMATS;
  }

  private explainFormat(): void {
    byId("format-about").textContent = this.app.descriptions.get(this.app.sideA.name)?.formats[this.format.value]?.about ?? "";
  }

  private request(): Request {
    const { api, current, sideA } = this.app;
    const format = this.format.value;
    const options: Options = { ...sideA.options, format };
    if (["coco", "coco_panoptic", "labelme"].includes(format)) options.image_name = current!.name;
    if (WITH_POLYGONS.includes(format) && Number(this.editor.tolerance)) options.tolerance = this.editor.tolerance;
    if (format === "overlay") options.alpha = String(Number(byId<HTMLInputElement>("opacity").value) / 100);
    const suffix = SUFFIXES[this.formats[format]] ?? "";
    return { url: api.url(`predictions/${encodeURIComponent(sideA.name)}`), photo: current!.name, options, output: `${stem(current!.name)}.${format}${suffix}`, needsToken: api.token !== "" };
  }

  private async download(): Promise<void> {
    const { options, output } = this.request();
    const answer = await this.ask(options);
    saveFile(new Blob([answer.bytes], { type: answer.contentType }), output);
    this.say(`Saved ${output}.`);
  }

  private async copy(): Promise<void> {
    const answer = await this.ask(this.request().options);
    const type = answer.contentType.split(";")[0];
    if (type.endsWith("json")) return this.copyText(new TextDecoder().decode(answer.bytes));
    if (!type.startsWith("image/")) throw new Error("Only text and pictures can be copied; download this format instead.");
    // Clipboards accept only PNG.
    const png = type === "image/png" ? new Blob([answer.bytes], { type }) : await toPng(new Blob([answer.bytes], { type }));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
    this.say("Copied the picture.");
  }

  private ask(options: Options): ReturnType<App["api"]["predict"]> {
    this.say("Asking the server …");
    return this.app.api.predict(this.app.sideA.name, this.app.current!.file, options);
  }

  private async copyText(text: string): Promise<void> {
    if (!navigator.clipboard) throw new Error("Browsers let pages copy only over HTTPS or on this machine.");
    await navigator.clipboard.writeText(text);
    this.say("Copied.");
  }

  private async run(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Cancelled)) this.say(error instanceof Error ? error.message : String(error));
    }
  }

  private say(text: string): void {
    byId("download-text").textContent = text;
  }
}

export interface Request {
  url: string;
  photo: string;
  options: Options;
  output: string;
  needsToken: boolean;
}

/** Returns a command line for the same request. Options are form fields, which every server accepts and which allow any character. */
export function curlCommand({ url, photo, options, output, needsToken }: Request): string {
  const fields = Object.entries(options).map(([name, value]) => `--form-string ${shell(`${name}=${value}`)}`);
  // Inside double quotes curl takes every character of a file name literally except for these two.
  const file = `-F ${shell(`data=@"${photo.replace(/[\\"]/g, "\\$&")}"`)}`;
  const token = needsToken ? ['-H "Authorization: Bearer $TOKEN"'] : [];
  return ["curl -sS --fail-with-body", ...token, file, ...fields, shell(url), `-o ${shell(output)}`].join(" ");
}

function shell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Returns a Python program for the same request; JSON strings are valid in Python. */
export function pythonProgram({ url, photo, options, output, needsToken }: Request): string {
  const headers = needsToken ? ', headers={"Authorization": f"Bearer {os.environ[\'TOKEN\']}"}' : "";
  return [
    ...(needsToken ? ["import os", ""] : []),
    "import requests",
    "",
    `with open(${JSON.stringify(photo)}, "rb") as photo:`,
    "    answer = requests.post(",
    `        ${JSON.stringify(url)}, files={"data": photo}, data=${JSON.stringify(options)}, timeout=120${headers}`,
    "    )",
    "if not answer.ok:",
    "    raise SystemExit(answer.text)",
    `with open(${JSON.stringify(output)}, "wb") as output:`,
    "    output.write(answer.content)",
    "",
  ].join("\n");
}

async function toPng(picture: Blob): Promise<Blob> {
  const bitmap = await createImageBitmap(picture);
  const canvas = element("canvas", { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is too large to copy"))), "image/png"));
}
