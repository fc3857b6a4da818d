/** A browser on the real server's page. The environment says where both are; tests/live/test_page.py sets it. */

import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect } from "vitest";

export const ADDRESS = required("PAGE_URL");
const CHROMIUM = required("CHROMIUM");
const PHOTOGRAPHS = required("PHOTOGRAPHS");
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
];

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run these tests by pytest tests/live/test_page.py`);
  return value;
}

let context: BrowserContext;
/** Requests to anywhere but the server, and what the console complained of. */
const strangers: string[] = [];
const complaints: string[] = [];

beforeAll(async () => {
  const profile = mkdtempSync(join(tmpdir(), "page-"));
  context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    args: FLAGS,
    viewport: { width: 1280, height: 900 },
    permissions: ["camera", "clipboard-read", "clipboard-write"],
    acceptDownloads: true,
  });
  context.on("request", (request) => {
    if (!request.url().startsWith(ADDRESS) && !request.url().startsWith("blob:")) strangers.push(request.url());
  });
});

afterAll(async () => {
  await context?.close();
  expect(strangers).toEqual([]);
  expect(complaints).toEqual([]);
});

export async function openPage(size?: { width: number; height: number }, scheme: "light" | "dark" = "light"): Promise<Page> {
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // A refusal is told by the page, and the console names it as well; a test asks for example.org, in vain.
    if (message.type() === "error" && !/Failed to load resource|example\.org/.test(message.text())) complaints.push(message.text());
  });
  if (size) await page.setViewportSize(size);
  await page.emulateMedia({ colorScheme: scheme });
  await page.goto(ADDRESS);
  await page.waitForFunction(() => document.querySelectorAll("#side-a option[value]").length > 1);
  return page;
}

export function photograph(name: string): { name: string; mimeType: string; buffer: Buffer } {
  return { name, mimeType: "image/jpeg", buffer: readFileSync(join(PHOTOGRAPHS, name)) };
}

type File = { name: string; mimeType: string; buffer: Buffer };

/** Drops files on the page, as a person does with a mouse. */
export async function drop(page: Page, ...files: File[]): Promise<void> {
  const data = await page.evaluateHandle(
    (given) => {
      const transfer = new DataTransfer();
      for (const { name, mimeType, base64 } of given) {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type: mimeType }));
      }
      return transfer;
    },
    files.map(({ name, mimeType, buffer }) => ({ name, mimeType, base64: buffer.toString("base64") })),
  );
  await page.dispatchEvent("#stage", "drop", { dataTransfer: data });
}

/** Waits until the mask and its confidences are there. */
export async function masked(page: Page): Promise<void> {
  await page.waitForFunction(() => {
    const idle = document.getElementById("busy")!.hidden && !document.getElementById("panes")!.hidden;
    return idle && document.querySelector("#classes .numbers")?.textContent?.includes("score");
  });
}

/** Asks the API itself. */
export async function ask(photo: File, query: string): Promise<Response> {
  return fetch(`${ADDRESS}predictions/deeplabv3?${query}`, { method: "POST", body: new Uint8Array(photo.buffer) });
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
export async function saved(page: Page, selector: string): Promise<{ name: string; bytes: Buffer }> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

export async function violations(page: Page): Promise<string[]> {
  const { violations: found } = await new AxeBuilder({ page }).analyze();
  return found.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" ")}`);
}
