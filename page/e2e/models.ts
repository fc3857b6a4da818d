import type { Page } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { download, drop, labelsOf, maskAt, openPage, openWithMask, readPhotograph, violations, waitForMask } from "./browser";

const astronaut = readPhotograph("astronaut.jpg");
/** Class names of the model `scenes`, in place of `wall` and `floor`; the same as in tests/live/test_page.py. */
const MARKUP = ["<img src=x onerror=alert(1)>", '"><script>alert(2)</script>'];
const DIFFERENT = [255, 0, 200, 255];

/** Returns the agreement in per cent and the overlap of each class in either mask, counted class by class. */
function compareMasks(a: string[], b: string[]): { agreement: string; overlaps: Map<string, string> } {
  const percent = (part: number, whole: number, digits: number) => ((100 * part) / whole).toFixed(digits);
  const both = a.filter((name, i) => name === b[i]);
  const overlaps = [...new Set([...a, ...b])].map((name): [string, string] => {
    const either = a.filter((_, i) => a[i] === name || b[i] === name).length;
    return [name, percent(both.filter((shared) => shared === name).length, either, 1)];
  });
  return { agreement: percent(both.length, a.length, 2), overlaps: new Map(overlaps) };
}

/** Returns the shares of both masks and the overlap shown in the class list. */
async function readClassList(page: Page): Promise<Map<string, string[]>> {
  const rows = await page.locator("#classes li").evaluateAll((items) => items.map((item) => [item.querySelector("label")!.textContent!, item.querySelector(".numbers")!.textContent!]));
  return new Map(rows.map(([name, numbers]) => [name, numbers.match(/[\d.]+/g)!]));
}

async function compareWith(page: Page, model: string): Promise<void> {
  await page.check("#compare");
  await page.selectOption("#side-b select >> nth=0", model);
  await page.waitForFunction(() => document.getElementById("agreement")!.textContent!.includes("agree"));
  await waitForMask(page);
}

describe("two models", () => {
  let page: Page;
  beforeAll(async () => {
    page = await openWithMask(astronaut);
    await compareWith(page, "scenes");
  });

  it("are compared with the agreement and the IoU per class name that the API's masks have", async () => {
    const [objects, scenes] = [(await labelsOf(astronaut)).at, (await labelsOf(astronaut, "", "scenes")).at];
    const { agreement, overlaps } = compareMasks(objects, scenes);

    expect(await page.textContent("#agreement")).toContain(`agree on ${agreement}\u00a0%`);
    const rows = await readClassList(page);
    expect([...rows.keys()].sort()).toEqual([...overlaps.keys()].sort());
    for (const [name, [share, otherShare, overlap]] of rows) {
      const shares = [objects, scenes].map((mask) => ((100 * mask.filter((label) => label === name).length) / mask.length).toFixed(1));
      expect([name, share, otherShare, overlap]).toEqual([name, ...shares, overlaps.get(name)]);
    }
    expect(Number(overlaps.get("person"))).toBeGreaterThan(0);
  });

  it("can be swiped between, put side by side, and shown where they differ", async () => {
    expect(await page.locator(".pane .name").allTextContents()).toEqual(["deeplabv3", "scenes"]);
    const clips = () => page.locator("#panes canvas").evaluateAll((canvases) => canvases.slice(1).map((canvas) => (canvas as HTMLCanvasElement).style.clipPath));
    await page.focus("#divider");
    for (let i = 0; i < 10; i++) await page.keyboard.press("ArrowLeft");
    expect(await clips()).toEqual(["inset(0px calc(70%) 0px 0px)", "inset(0px 0px 0px 30%)"]);
    // Person, in the colours of either model.
    expect([await maskAt(page, 0.45, 0.75), await maskAt(page, 0.45, 0.75, 2)]).toEqual([[192, 128, 128, 255], [150, 5, 61, 255]]);
    expect(await violations(page)).toEqual([]);

    await page.hover("#panes", { position: { x: 300, y: 500 } });
    expect(await page.textContent("#readout")).toMatch(/^x \d+, y \d+: deeplabv3: \w+ [\d.]+\s% \| scenes: .+ [\d.]+\s%$/);
    await page.check('input[value="side"]');
    expect(await page.locator(".pane").allTextContents()).toEqual(["deeplabv3", "scenes"]);
    expect(await violations(page)).toEqual([]);
    await page.check('input[value="difference"]');
    await page.waitForFunction(() => document.querySelectorAll("#panes canvas").length === 2);
    const [a, b] = [await labelsOf(astronaut), await labelsOf(astronaut, "", "scenes")];
    // The fitted photograph is as high as the stage, and centred.
    const { width, height } = (await page.locator("#panes").boundingBox())!;
    for (const [x, y] of [[100, 100], [256, 400], [470, 30], [40, 480]]) {
      const differs = a.at[y * a.width + x] !== b.at[y * a.width + x];
      const fraction = 0.5 + (((x + 0.5) / a.width - 0.5) * height) / width;
      expect(await maskAt(page, fraction, (y + 0.5) / a.width)).toEqual(differs ? DIFFERENT : [0, 0, 0, 0]);
    }
    expect(await violations(page)).toEqual([]);
  });

  it("may have class names that are markup, which stay text in lists, dialogs, comparisons and files", async () => {
    const names = await page.locator("#classes label").allTextContents();
    const [name] = MARKUP.filter((markup) => names.includes(markup));
    await page.click(`button[aria-label=${JSON.stringify(`Why ${name}?`)}]`);
    await page.waitForSelector("#explanation-image:not([hidden])");
    expect(await page.textContent("#explanation-title")).toBe(`Why ${name}?`);
    expect(await violations(page)).toEqual([]);
    await page.click("#explanation-close");

    await page.selectOption("#side-a select >> nth=0", "scenes");
    await waitForMask(page);
    await page.click("#polygons summary");
    await page.selectOption("#polygon-format", "svg");
    const { bytes } = await download(page, "#save-polygons");
    expect(bytes.toString()).toContain(name.replaceAll("<", "&#60;").replaceAll(">", "&#62;"));
    expect(bytes.toString()).not.toMatch(/<(img|script)/);
    expect(await page.locator("main script, main img:not(#samples img)").count()).toBe(0);
  });

  it("can be changed at any time, and masks already received are not requested again", async () => {
    const page = await openPage();
    let predictions = 0;
    await page.route("**/predictions/**", (route) => {
      predictions++;
      return route.continue();
    });
    await drop(page, astronaut);
    await waitForMask(page);
    const objects = await page.textContent("#summary");
    await page.selectOption("#side-a select >> nth=0", "scenes");
    await page.waitForFunction((name) => document.getElementById("summary")!.textContent!.includes(name), MARKUP[0]);
    await waitForMask(page);
    const before = predictions;

    await page.selectOption("#side-a select >> nth=0", "deeplabv3");
    await page.waitForFunction((text) => document.getElementById("summary")!.textContent === text, objects);

    expect(await page.textContent("#card")).toContain("modeldeeplabv3");
    expect(predictions).toBe(before);
    expect(before).toBe(4);
  });
});
