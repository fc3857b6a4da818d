import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { decodePng } from "../src/png";
import { area, type FeatureCollection } from "../src/polygons";
import { callApi, download, drop, EXHAUSTIVE, openWithMask, readPhotograph, saveForReaders, violations } from "./browser";

const astronaut = readPhotograph("astronaut.jpg");
const cat = readPhotograph("chelsea.jpg");

describe("the panel", () => {
  let page: Page;
  beforeAll(async () => {
    page = await openWithMask(cat);
  });

  it("shows timings and the model card", async () => {
    await page.click("#about summary");
    expect(await page.textContent("#timings")).toMatch(/server: network\d+\.\d ms/);
    expect(await page.textContent("#card")).toContain("backbonemobilenet_v2");
  });

  it("saves the model's polygons in two clicks", async () => {
    await page.click("#polygons summary");
    const { name, bytes } = await download(page, "#save-polygons");

    expect(name).toBe("chelsea.geojson");
    expect(bytes.toString()).toBe(JSON.stringify(await (await callApi(cat, "format=geojson&tolerance=2.0")).json()));
  });

  // Every fourth of the formats that take no option from the page, unless everything is tested.
  it("downloads the API's answers in every format", async () => {
    await page.click("#downloads summary");
    const formats = await page.locator("#format option").evaluateAll((options) => options.map((option) => (option as HTMLOptionElement).value));
    expect(formats.length).toBeGreaterThan(10);
    const names = { coco: "&image_name=chelsea.jpg", coco_panoptic: "&image_name=chelsea.jpg", labelme: "&image_name=chelsea.jpg&tolerance=2", geojson: "&tolerance=2", labelstudio_polygons: "&tolerance=2", overlay: "&alpha=0.55" };

    for (const format of formats.filter((format, i) => EXHAUSTIVE || format in names || i % 4 === 0)) {
      await page.selectOption("#format", format);
      const { name, bytes } = await download(page, "#download");
      const expected = Buffer.from(await (await callApi(cat, `format=${format}${names[format as keyof typeof names] ?? ""}`)).arrayBuffer());
      expect(name).toMatch(new RegExp(`^chelsea\\.${format}\\.\\w+$`));
      expect(bytes.equals(expected), format).toBe(true);
    }
    expect(await violations(page)).toEqual([]);
  });

  it("copies text, pictures and commands that work", async () => {
    const page = await openWithMask({ ...cat, name: "it's a \"test\".jpg" });
    await page.click("#downloads summary");
    await page.selectOption("#format", "geojson");
    await page.click("#copy");
    await page.waitForFunction(() => document.getElementById("download-text")!.textContent === "Copied.");
    expect((JSON.parse(await page.evaluate(() => navigator.clipboard.readText())) as FeatureCollection).type).toBe("FeatureCollection");

    await page.selectOption("#format", "png");
    await page.click("#copy-curl");
    await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("curl"));
    const folder = mkdtempSync(join(tmpdir(), "page-"));
    writeFileSync(join(folder, "it's a \"test\".jpg"), cat.buffer);
    execFileSync("sh", ["-c", await page.evaluate(() => navigator.clipboard.readText())], { cwd: folder });
    const mask = await decodePng(readFileSync(join(folder, "it's a \"test\".png.png")));
    rmSync(folder, { recursive: true });
    expect([mask.width, mask.height]).toEqual([451, 300]);

    await page.click("#copy");
    await page.waitForFunction(() => document.getElementById("download-text")!.textContent === "Copied the picture.");
  });
});

describe("polygons", () => {
  it("can be simplified, dragged, undone and saved", async () => {
    const page = await openWithMask(astronaut);
    await page.click("#polygons summary");
    await page.check("#edit");
    await page.waitForFunction(() => document.querySelectorAll("#panes path").length > 0);
    const corners = async () => Number((await page.textContent("#polygon-text"))!.match(/(\d+) corners/)![1]);
    const fine = await corners();
    await page.fill("#tolerance", "8");
    await page.waitForFunction((before) => Number(document.getElementById("polygon-text")!.textContent!.match(/(\d+) corners/)?.[1]) < before, fine);
    const box = (await page.locator("#panes").boundingBox())!;
    await page.mouse.click(box.x + box.width / 2, box.y + box.height * 0.75);
    const before = await corners();

    await page.waitForSelector("circle.middle");
    // Measured in one step, because each frame draws new circles.
    const middle = await page.evaluate(() => document.querySelector("circle.middle")!.getBoundingClientRect().toJSON() as DOMRect);
    await page.mouse.move(middle.x + middle.width / 2, middle.y + middle.height / 2);
    await page.mouse.down();
    await page.mouse.move(middle.x + 40, middle.y + 30, { steps: 3 });
    await page.mouse.up();
    expect(await corners()).toBe(before + 1);
    await page.keyboard.press("Control+z");
    expect(await corners()).toBe(before);
    await page.click("#redo");
    await page.focus("#panes");
    // Move past the new corner, so that it stays.
    await page.keyboard.press(".");
    await page.keyboard.press(".");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("Delete");
    expect(await corners()).toBe(before);
    expect(await violations(page)).toEqual([]);

    const formats = await page.locator("#polygon-format option").evaluateAll((options) => options.map((option) => (option as HTMLOptionElement).value));
    for (const format of formats) {
      await page.selectOption("#polygon-format", format);
      const file = await download(page, "#save-polygons");
      expect(file.name).toMatch(/^astronaut\.edited\.\w+(\.json)?$/);
      saveForReaders(`edited/${format}`, file.bytes);
    }
    await page.selectOption("#polygon-format", "geojson");
    const { name, bytes } = await download(page, "#save-polygons");
    const { features } = JSON.parse(bytes.toString()) as FeatureCollection;
    expect(name).toBe("astronaut.edited.geojson");
    const [person] = features.filter(({ properties }) => properties.label === "person");
    const polygons = person.geometry.type === "Polygon" ? [person.geometry.coordinates] : person.geometry.coordinates;
    expect(polygons.reduce((sum, polygon) => sum + area(polygon), 0)).toBeCloseTo(Number(person.properties.pixels));
    for (const ring of polygons.flat()) expect(ring[0]).toEqual(ring.at(-1));

    await drop(page, { ...cat, name: "other.jpg" });
    await page.waitForFunction(() => document.getElementById("polygon-text")!.textContent!.match(/^\d+ polygons/) && document.querySelectorAll("#panes path").length === 1);
    await page.click("#strip button >> nth=0");
    await page.waitForFunction((count) => document.getElementById("polygon-text")!.textContent!.includes(`${count} corners`), before);
    expect(await page.isEnabled("#undo")).toBe(true);
  });
});

describe("polygons without a mouse", () => {
  it("can be selected, edited and deselected by keys, and the text says where", async () => {
    const page = await openWithMask(astronaut);
    await page.focus("#polygons summary");
    await page.keyboard.press("Enter");
    await page.focus("#edit");
    await page.keyboard.press("Space");
    await page.waitForFunction(() => document.querySelectorAll("#panes path").length > 0);
    const text = async () => (await page.textContent("#polygon-text"))!;
    const count = async () => Number((await text()).match(/(\d+) corners/)![1]);
    const corner = async () => (await text()).match(/x ([\d.]+), y ([\d.]+)/)!.slice(1).map(Number);
    const before = await count();
    await page.focus("#panes");
    await page.keyboard.press("PageDown");
    const first = await text();
    await page.keyboard.press("PageDown");
    expect(await text()).not.toEqual(first);
    await page.keyboard.press("PageUp");
    expect(await text()).toEqual(first);

    await page.keyboard.press("i");
    expect(await count()).toBe(before + 1);
    await page.keyboard.press(".");
    const [x, y] = await corner();
    await page.keyboard.press("ArrowUp");
    expect(await corner()).toEqual([x, Math.max(0, y - 1)]);
    await page.keyboard.press("Control+z");
    await page.keyboard.press("Control+z");
    expect(await count()).toBe(before);
    await page.keyboard.press("Escape");
    expect(await text()).toContain("Click one");
  });
});
