/** The page under a proxy's path, or with an API on another origin. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { API, download, labelsOf, openPage, readPhotograph, waitForMask } from "./browser";

const cat = readPhotograph("chelsea.jpg");
const STATIC = "../handler/servers/asgi/static";
const TYPES: Record<string, string> = { html: "text/html", css: "text/css", js: "text/javascript", svg: "image/svg+xml", jpg: "image/jpeg" };

/** Serves the page's files at `address`, modified as in docs/page.md for an API elsewhere. */
async function host(page: Page, address: string): Promise<void> {
  const policy = readFileSync("../deploy/nginx/deeplab.conf", "utf8").match(/Content-Security-Policy "(.*)"/)![1];
  const headers = { "Content-Security-Policy": policy.replace("connect-src 'self'", `connect-src 'self' ${new URL(API).origin}`) };
  await page.route(`${address}**`, (route) => {
    const name = route.request().url().slice(address.length) || "index.html";
    let body: string | Buffer = readFileSync(join(STATIC, name));
    if (name === "index.html") body = body.toString().replace('name="api" content="."', `name="api" content="${API}"`);
    return route.fulfill({ body, contentType: TYPES[name.split(".").at(-1)!], headers });
  });
}

/** Tests the page at `address`; if its API is at another, the page is served by the test. */
export function testPageAt(address: string): void {
  describe(`the page at ${address}`, () => {
    it("segments a sample, lists its classes and saves polygons", async () => {
      const page = await openPage({ address, before: async (page) => address !== API && host(page, address) });
      expect(await page.locator("#side-a select >> nth=0").inputValue()).toBe("deeplabv3");
      await page.click("#samples button:nth-child(2)");
      await waitForMask(page);

      const { at } = await labelsOf(cat);
      const rows = await page.locator("#classes label").allTextContents();
      expect(rows.sort()).toEqual([...new Set(at)].sort());
      expect(await page.isHidden("#notice")).toBe(true);
      await page.click("#polygons summary");
      const { bytes } = await download(page, "#save-polygons");
      expect((JSON.parse(bytes.toString()) as { features: unknown[] }).features.length).toBe(rows.length - 1);
    });
  });
}
