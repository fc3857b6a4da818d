/** The browser, and the real server's page in it. The tests in tests/live set the environment variables for both. */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type axe from "axe-core";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect } from "vitest";
import { decodePng } from "../src/png";

/** URLs of the page and of its API, which may have another origin. Both end in a slash. */
export const ADDRESS = required("PAGE_URL");
export const API = process.env.API_URL ?? ADDRESS;
const CHROMIUM = required("CHROMIUM");
const PHOTOGRAPHS = required("PHOTOGRAPHS");
/** Whether to test everything, as `make test-all` does. */
export const EXHAUSTIVE = Boolean(process.env.EXHAUSTIVE);
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  // Slow, since each frame of the camera is drawn without a GPU.
  "--use-fake-device-for-media-stream=fps=5",
  "--use-fake-ui-for-media-stream",
];

/** Returns an environment variable. */
export function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run these tests by pytest tests/live/test_page.py`);
  return value;
}

/** Read, not imported, since only the page runs it. */
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Small, since it is drawn without a GPU; wider than the layout for phones. */
const WINDOW = { width: 1000, height: 700 };

let context: BrowserContext;
/** The tab of all tests: loading the page in it again is cheaper than opening another. */
let tab: Page;
const allowedAddresses = [ADDRESS, API, "blob:"];
const forbiddenRequests: string[] = [];
/** Uncaught errors, errors in the console, and dialogs of the browser, which the page never opens. */
const complaints: string[] = [];

beforeAll(async () => {
  // With an empty path Playwright makes a profile and removes it.
  context = await chromium.launchPersistentContext("", {
    executablePath: CHROMIUM,
    headless: true,
    args: FLAGS,
    viewport: WINDOW,
    permissions: ["camera", "clipboard-read", "clipboard-write", "local-network-access"],
    acceptDownloads: true,
  });
  context.setDefaultTimeout(60_000);
  context.on("request", (request) => {
    if (!allowedAddresses.some((address) => request.url().startsWith(address))) forbiddenRequests.push(request.url());
  });
  tab = context.pages()[0];
  tab.on("pageerror", (error) => complaints.push(error.message));
  tab.on("console", (message) => {
    // The console also reports errors that the page shows, and the blocked request to example.org that a test makes.
    if (message.type() === "error" && !/Failed to load resource|https:\/\/example\.org/.test(message.text())) complaints.push(message.text());
  });
  tab.on("dialog", async (dialog) => {
    complaints.push(dialog.message());
    await dialog.dismiss();
  });
});

afterAll(async () => {
  await context?.close();
  expect(forbiddenRequests).toEqual([]);
  expect(complaints).toEqual([]);
});

interface Visit {
  size?: { width: number; height: number };
  /** The page's URL, if not `ADDRESS`. */
  address?: string;
  /** Prepares the tab before the page is loaded. */
  before?: (page: Page) => Promise<unknown>;
}

/** Loads the page anew, with nothing of earlier tests. */
export async function openPage({ size = WINDOW, address = ADDRESS, before }: Visit = {}): Promise<Page> {
  allowedAddresses.push(address);
  await tab.unrouteAll();
  await context.setOffline(false);
  await tab.setViewportSize(size);
  await tab.emulateMedia({ colorScheme: "light", reducedMotion: null });
  await before?.(tab);
  await tab.goto(address);
  await tab.waitForFunction(() => document.querySelector<HTMLSelectElement>("#side-a select")!.options.length > 0);
  return tab;
}

/** Loads the page anew, drops a photograph and waits for its mask. */
export async function openWithMask(photo: File): Promise<Page> {
  const page = await openPage();
  await drop(page, photo);
  await waitForMask(page);
  return page;
}

export function readPhotograph(name: string): { name: string; mimeType: string; buffer: Buffer } {
  return { name, mimeType: "image/jpeg", buffer: readFileSync(join(PHOTOGRAPHS, name)) };
}

type File = { name: string; mimeType: string; buffer: Buffer };

/** Drops files on the page, as with a mouse. */
export async function drop(page: Page, ...files: File[]): Promise<void> {
  const data = await page.evaluateHandle(
    (contents) => {
      const transfer = new DataTransfer();
      for (const { name, mimeType, base64 } of contents) {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type: mimeType }));
      }
      return transfer;
    },
    files.map(({ name, mimeType, buffer }) => ({ name, mimeType, base64: buffer.toString("base64") })),
  );
  await page.dispatchEvent("#stage", "drop", { dataTransfer: data });
}

/** Waits until the mask and its confidences have loaded, for two models until both have. */
export async function waitForMask(page: Page): Promise<void> {
  await page.waitForFunction(() => {
    const idle = document.getElementById("busy")!.hidden && !document.getElementById("panes")!.hidden;
    return idle && /sure|IoU/.test(document.querySelector("#classes .numbers")?.textContent ?? "");
  }, undefined, { polling: 50 });
}

/** Calls the API directly. Options are sent as headers, which every server reads. */
export async function callApi(photo: File, query: string, model = "deeplabv3"): Promise<Response> {
  const options = [...new URLSearchParams(query)].map(([name, value]): [string, string] => [`X-Segment-${name.replaceAll("_", "-")}`, value]);
  return fetch(`${API}predictions/${model}`, { method: "POST", body: new Uint8Array(photo.buffer), headers: Object.fromEntries(options) });
}

/** Returns the class name of each pixel, from the API. */
export async function labelsOf(photo: File, query = "", model = "deeplabv3"): Promise<{ width: number; at: string[] }> {
  const png = await decodePng(new Uint8Array(await (await callApi(photo, `format=index&${query}`, model)).arrayBuffer()));
  const names = JSON.parse(png.text.get("classes")!) as string[];
  return { width: png.width, at: Array.from(png.values, (value) => names[value]) };
}

/** Returns the RGBA of a mask's canvas at a fraction of its width and height. */
export function maskAt(page: Page, x: number, y: number, index = 1): Promise<number[]> {
  return page.evaluate(
    ([fx, fy, i]) => {
      const canvas = document.querySelectorAll<HTMLCanvasElement>("#panes canvas")[i];
      return [...canvas.getContext("2d")!.getImageData(Math.floor(fx * canvas.width), Math.floor(fy * canvas.height), 1, 1).data];
    },
    [x, y, index] as const,
  );
}

/** Clicks a button that saves a file, and returns its name and bytes. */
export async function download(page: Page, selector: string): Promise<{ name: string; bytes: Buffer }> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

/** Writes a file for other programs to read, into the folder named by `SAVED`. */
export function saveForReaders(name: string, bytes: Buffer): void {
  const path = join(required("SAVED"), name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}

export const THEMES = ["dark", "light"] as const;
let checks = 0;

/** Returns axe's violations in `themes`; by default both themes if everything is tested, otherwise one, alternating. */
export async function violations(page: Page, themes: readonly (typeof THEMES)[number][] = EXHAUSTIVE ? THEMES : [THEMES[checks++ % 2]]): Promise<string[]> {
  // Without @axe-core/playwright, which loads axe twice and opens another page for each check: seven times the processor time.
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  const violations: string[] = [];
  for (const colorScheme of themes) {
    await page.emulateMedia({ colorScheme });
    const found = await page.evaluate(async () => {
      const { violations } = await (window as unknown as { axe: typeof axe }).axe.run(document, { resultTypes: ["violations"] });
      return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" ")}`);
    });
    violations.push(...found.map((text) => `${colorScheme} ${text}`));
  }
  await page.emulateMedia({ colorScheme: "light" });
  return violations;
}
