import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { Page } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { decodePng } from "../src/png";
import { ADDRESS, callApi, download, drop, EXHAUSTIVE, maskAt, openPage, openWithMask, readPhotograph, THEMES, violations, waitForMask } from "./browser";

const cat = readPhotograph("chelsea.jpg");
const astronaut = readPhotograph("astronaut.jpg");

/** A grey PNG of 148 bytes with one row, wider than any limit. */
const TOO_WIDE = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgABEXAAAAABCAAAAADXKCKXAAAAW0lEQVR42u3BMQEAAADCoPVPbQlPoAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAACAuwERgAABqQXVbwAAAABJRU5ErkJggg==",
  "base64",
);

/** Returns an uncompressed 8-bit grey TIFF with one strip. */
function grayTiff(width: number, height: number): Buffer {
  const entries = [[256, 3, width], [257, 3, height], [258, 3, 8], [259, 3, 1], [262, 3, 1], [273, 4, 122], [277, 3, 1], [278, 3, height], [279, 4, width * height]];
  const head = Buffer.alloc(122);
  head.write("II*\0", "latin1");
  head.writeUInt32LE(8, 4);
  head.writeUInt16LE(entries.length, 8);
  entries.forEach(([tag, type, value], i) => {
    head.writeUInt16LE(tag, 10 + 12 * i);
    head.writeUInt16LE(type, 12 + 12 * i);
    head.writeUInt32LE(1, 14 + 12 * i);
    head.writeUInt32LE(value, 18 + 12 * i);
  });
  return Buffer.concat([head, Buffer.from(Array.from({ length: width * height }, (_, i) => i % 251))]);
}

/** A proxy for the server on a separate port, which can be stopped in its place. */
async function startProxy(): Promise<{ address: string; start: () => Promise<void>; stop: () => void }> {
  const sockets = new Set<Socket>();
  const { hostname, port } = new URL(ADDRESS);
  let proxyPort = 0;
  let server = createServer();
  const start = async () => {
    server = createServer((client) => {
      const upstream = connect(Number(port), hostname);
      for (const [source, target] of [[client, upstream], [upstream, client]]) {
        sockets.add(source);
        source.on("error", () => target.destroy()).on("close", () => target.destroy()).pipe(target);
      }
    });
    await new Promise<void>((resolve) => server.listen(proxyPort, hostname, resolve));
    proxyPort = (server.address() as AddressInfo).port;
  };
  const stop = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  await start();
  return { address: `http://${hostname}:${proxyPort}/`, start, stop };
}

describe("a photograph", () => {
  it("may be chosen, pasted or a sample; the strip shows all of them, and their names as text", async () => {
    const markup = "<img src=x onerror=alert(1)>.jpg";
    const page = await openPage();
    await page.click("#samples button:nth-child(1)");
    await waitForMask(page);
    await page.setInputFiles("#files", [cat, astronaut]);
    await waitForMask(page);
    await page.evaluate(([base64, name]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { type: "image/jpeg" }));
      document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
    }, [cat.buffer.toString("base64"), markup]);
    await page.waitForFunction((name) => document.getElementById("summary")!.textContent!.startsWith(name), markup);
    await waitForMask(page);

    const names = ["astronaut.jpg", "chelsea.jpg", "astronaut.jpg", markup];
    for (const attribute of ["aria-label", "title"]) {
      expect(await page.locator("#strip button").evaluateAll((buttons, attribute) => buttons.map((button) => button.getAttribute(attribute)), attribute)).toEqual(names);
    }
    expect(await page.locator("#strip img, #summary img").count()).toBe(0);
    await page.click("#strip li:nth-child(1) button");
    await page.waitForFunction(() => document.getElementById("summary")!.textContent!.startsWith("astronaut.jpg, 512 × 512: person"));
  });

  it("may come from a camera", async () => {
    const page = await openPage();

    await page.click("#webcam");
    await page.waitForSelector("#shoot:not([disabled])");
    expect(await violations(page)).toEqual([]);
    await page.click("#shoot");
    await waitForMask(page);

    expect(await page.textContent("#summary")).toMatch(/^camera.jpg, \d+ × \d+: /);
  });

  it("that browsers cannot show is shown by the server, and its name may have letters beyond ASCII", async () => {
    const page = await openPage();
    await drop(page, { name: "Straße.tif", mimeType: "image/tiff", buffer: grayTiff(64, 48) });
    await waitForMask(page);

    expect(await page.textContent("#summary")).toContain("Straße.tif, 64 × 48");
    await page.click("#downloads summary");
    await page.selectOption("#format", "coco");
    const { name, bytes } = await download(page, "#download");
    expect(name).toBe("Straße.coco.json");
    expect((JSON.parse(bytes.toString()) as { images: { file_name: string }[] }).images[0].file_name).toBe("Straße.tif");
  });

  it("may be cancelled and tried again", async () => {
    const page = await openPage();
    await page.route("**/predictions/**", () => {});
    await drop(page, cat);
    await page.waitForSelector("#busy:not([hidden])");
    expect(await violations(page)).toEqual([]);
    await page.click("#cancel");
    expect(await page.textContent("#failure-text")).toBe("Cancelled.");

    await page.unroute("**/predictions/**");
    await page.click("#retry");
    await waitForMask(page);
  });
});

describe("a mask", () => {
  let page: Page;
  beforeAll(async () => {
    page = await openWithMask(cat);
  });

  it("has the API's classes, shares and scores in its list, and the API's colours", async () => {
    const { segments } = (await (await callApi(cat, "masks=none")).json()) as { segments: { label: string; fraction: number; score: number }[] };
    const rows = await page.locator("#classes li").evaluateAll((items) => items.map((item) => [item.querySelector("label")!.textContent, item.querySelector(".numbers")!.textContent]));
    expect(rows.map(([name]) => name)).toEqual(segments.map(({ label }) => label));
    rows.forEach(([, numbers], i) => {
      const [fraction, score] = numbers!.match(/[\d.]+/g)!.map(Number);
      expect(fraction).toBeCloseTo(segments[i].fraction * 100, 0);
      expect(Math.abs(score - segments[i].score * 100)).toBeLessThan(0.3);
    });
    expect(await maskAt(page, 0.5, 0.5)).toEqual([64, 0, 0, 255]);
  });

  it("shows the API's class and confidence under the pointer", async () => {
    const [labels, confidences] = await Promise.all(
      ["index", "confidence"].map(async (format) => decodePng(new Uint8Array(await (await callApi(cat, `format=${format}`)).arrayBuffer()))),
    );
    const names = JSON.parse(labels.text.get("classes")!) as string[];
    const box = (await page.locator("#panes").boundingBox())!;

    for (const [x, y] of [[0.5, 0.5], [0.4, 0.75], [0.6, 0.25], [0.1, 0.3]]) {
      await page.mouse.move(box.x + x * box.width, box.y + y * box.height);
      const text = (await page.textContent("#readout"))!;
      const [, column, row, name, confidence] = text.match(/^x (\d+), y (\d+): (.+) ([\d.]+)\s%$/)!;
      const position = Number(row) * labels.width + Number(column);
      expect(name).toBe(names[labels.values[position]]);
      expect(confidence).toBe(((confidences.values[position] / 255) * 100).toFixed(1));
    }
  });

  it("hides and shows classes, or only one, with mouse and keyboard", async () => {
    const waitForAlpha = (alpha: number) =>
      page.waitForFunction((alpha) => document.querySelectorAll<HTMLCanvasElement>("#panes canvas")[1].getContext("2d")!.getImageData(400, 300, 1, 1).data[3] === alpha, alpha);

    await page.uncheck("#classes li:nth-child(1) input");
    await waitForAlpha(0);
    await page.focus("#classes li:nth-child(1) input");
    await page.keyboard.press("Space");
    await waitForAlpha(255);
    await page.click('button[aria-label="Only background"]');
    await waitForAlpha(0);
    expect(await page.getAttribute('button[aria-label="Only background"]', "aria-pressed")).toBe("true");
    await page.click('button[aria-label="Only background"]');
    await waitForAlpha(255);
  });

  it("can be enlarged to single pixels, and moved by keys", async () => {
    await page.focus("#panes");
    for (let i = 0; i < 25; i++) await page.keyboard.press("+");
    await page.keyboard.press("ArrowRight");

    expect(await page.textContent("#readout")).toMatch(/^x 22\d, y 1[45]\d: cat [\d.]+\s%$/);
    await page.keyboard.press("0");
  });

  it("can be swiped, lifted, made transparent and hidden where it is unsure", async () => {
    const mask = page.locator("#panes canvas").nth(1);

    await page.check("#swipe");
    await page.focus("#divider");
    for (let i = 0; i < 5; i++) await page.keyboard.press("ArrowRight");
    expect(await page.getAttribute("#divider", "aria-valuenow")).toBe("60");
    expect(await mask.evaluate((canvas) => canvas.style.clipPath)).toContain("60%");
    const box = (await page.locator("#divider").boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + 40);
    await page.mouse.down();
    await page.mouse.move(box.x - 200, box.y + 40, { steps: 4 });
    await page.mouse.up();
    expect(Number(await page.getAttribute("#divider", "aria-valuenow"))).toBeLessThan(50);

    await page.keyboard.down("p");
    expect(await mask.isVisible()).toBe(false);
    await page.keyboard.up("p");
    expect(await mask.isVisible()).toBe(true);

    await page.fill("#opacity", "20");
    expect(await mask.evaluate((canvas) => canvas.style.opacity)).toBe("0.2");
    await page.check('input[value="confidence"]');
    await page.fill("#threshold", "100");
    await page.waitForFunction(() => document.querySelectorAll<HTMLCanvasElement>("#panes canvas")[1].getContext("2d")!.getImageData(30, 30, 1, 1).data[3] === 0);
  });
});

describe("two settings of a model", () => {
  it("are compared with agreement, IoU and differences", async () => {
    const page = await openWithMask(cat);

    await page.check("#compare");
    await page.selectOption("#side-b select >> nth=0", "deeplabv3");
    await page.click("#side-b summary");
    await page.selectOption("#side-b details select >> nth=2", "true");
    await page.waitForFunction(() => document.getElementById("agreement")!.textContent && document.getElementById("side-b")!.textContent);
    await waitForMask(page);
    const maps = await Promise.all(["format=index", "format=index&flip=true"].map(async (query) => decodePng(new Uint8Array(await (await callApi(cat, query)).arrayBuffer()))));
    const equal = Array.from(maps[0].values).reduce((sum, value, i) => sum + Number(value === maps[1].values[i]), 0) / maps[0].values.length;

    await page.waitForFunction((text) => document.getElementById("agreement")!.textContent!.includes(text), `${(equal * 100).toFixed(2)}\u00a0%`);
    expect(await page.textContent("#classes")).toContain("IoU");
    await page.check('input[value="side"]');
    expect(await page.locator(".pane").count()).toBe(2);
    await page.check('input[value="difference"]');
    expect(await page.textContent(".pane")).toBe("where they differ");
  });
});

describe("an error", () => {
  let page: Page;
  beforeAll(async () => {
    page = await openPage();
  });

  it.each([
    ["413", { name: "wide.png", mimeType: "image/png", buffer: TOO_WIDE }],
    ["415", { name: "drawing.psd", mimeType: "image/vnd.adobe.photoshop", buffer: Buffer.from("8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x10\0\0\0\x10\0\x08\0\x03", "latin1") }],
    ["400", { name: "text.jpg", mimeType: "image/jpeg", buffer: Buffer.from("not a photograph") }],
  ])("of status %s is shown with the API's message", async (_, file) => {
    const { message } = (await (await callApi(file, "")).json()) as { message: string };

    await drop(page, file);

    await page.waitForFunction((message) => document.getElementById("failure-text")!.textContent === message, message);
    expect(await page.isVisible("#failure")).toBe(true);
  });
});

describe("a server", () => {
  it("that stops leaves the masks shown, and photographs can be tried again once it is back", async () => {
    const proxy = await startProxy();
    const page = await openPage({ address: proxy.address });
    await drop(page, cat);
    await waitForMask(page);
    proxy.stop();
    await drop(page, astronaut);
    await page.waitForSelector("#failure:not([hidden])");
    expect(await page.textContent("#failure-text")).toContain("cannot be reached");
    expect(await violations(page)).toEqual([]);
    await page.click("#strip button >> nth=0");
    await waitForMask(page);
    await page.context().setOffline(true);
    await page.waitForSelector("#notice:not([hidden])");
    expect(await page.textContent("#notice")).toContain("offline");
    expect(await violations(page)).toEqual([]);

    await page.context().setOffline(false);
    await proxy.start();
    await page.click("#strip button >> nth=1");
    await page.click("#retry");
    await waitForMask(page);
    expect(await page.textContent("#summary")).toContain("astronaut.jpg");
    proxy.stop();
  });

  it("that needs a token makes the page ask for one and send it", async () => {
    const page = await openPage();
    const unauthorized = { error: "a token is needed", code: 401, type: "Unauthorized", message: "a token is needed" };
    const tokens: (string | undefined)[] = [];
    await page.route("**/predictions/**", (route) => {
      const token = route.request().headers().authorization;
      tokens.push(token);
      return token ? route.continue() : route.fulfill({ status: 401, json: unauthorized });
    });

    await drop(page, cat);
    await page.fill("#token-value", "secret");
    expect(await violations(page)).toEqual([]);
    await page.click("#token .primary");
    await waitForMask(page);

    expect(tokens).toEqual([undefined, "Bearer secret", "Bearer secret"]);
    expect(await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie])).toEqual([0, 0, ""]);
  });
});

describe("the page", () => {
  it("has no accessibility violation and no horizontal scrolling, from phones to 4K, light and dark", async () => {
    const page = await openPage({ size: { width: 360, height: 740 } });
    expect(await violations(page, THEMES)).toEqual([]);
    await drop(page, cat);
    await waitForMask(page);

    for (const [width, height] of [[360, 740], [3840, 2160]]) {
      await page.setViewportSize({ width, height });
      expect(await violations(page)).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    }
  });

  it("moves nothing for people who prefer reduced motion", async () => {
    const page = await openPage();
    await page.emulateMedia({ reducedMotion: "reduce" });

    const moving = await page.evaluate(() => [...document.querySelectorAll("*")].filter((element) => {
      const { animationName, transitionDuration, scrollBehavior } = getComputedStyle(element);
      return animationName !== "none" || transitionDuration !== "0s" || scrollBehavior === "smooth";
    }).length);
    expect(moving).toBe(0);
  });

  // Prints figures for people; takes a minute of drawing without a GPU.
  it.runIf(EXHAUSTIVE)("draws at a rate that is printed", async () => {
    const page = await openPage({ size: { width: 1280, height: 900 } });
    await page.evaluate(() => {
      document.addEventListener("drop", () => performance.mark("dropped"));
      new MutationObserver((_, observer) => {
        if (!document.querySelector("#classes li") || document.getElementById("panes")!.hidden) return;
        requestAnimationFrame(() => performance.measure("overlay", "dropped"));
        observer.disconnect();
      }).observe(document.body, { subtree: true, childList: true, attributes: true });
    });
    await drop(page, cat);
    await waitForMask(page);
    await page.waitForFunction(() => performance.getEntriesByName("overlay").length);
    await drop(page, readPhotograph("large.jpg"));
    await page.waitForFunction(() => document.getElementById("summary")!.textContent!.startsWith("large.jpg"));
    await waitForMask(page);
    await page.check("#swipe");
    const { frames, ...times } = await page.evaluate(async () => {
      const slide = (id: string, value: number) => {
        const slider = document.querySelector<HTMLInputElement>(`#${id}`)!;
        slider.value = String(value);
        slider.dispatchEvent(new Event("input"));
      };
      const gestures: Record<string, (i: number) => void> = {
        opacity: (i) => slide("opacity", i),
        threshold: (i) => slide("threshold", i),
        toggle: () => document.querySelector<HTMLInputElement>("#classes input")!.click(),
        swipe: (i) => document.getElementById("divider")!.dispatchEvent(new KeyboardEvent("keydown", { key: i % 2 ? "ArrowLeft" : "ArrowRight" })),
      };
      const rates: Record<string, number> = {};
      for (const [name, act] of Object.entries(gestures)) {
        const began = performance.now();
        for (let i = 0; i < 60; i++) {
          act(i);
          await new Promise(requestAnimationFrame);
        }
        rates[name] = 60_000 / (performance.now() - began);
      }
      const [overlay] = performance.getEntriesByName("overlay");
      return { paint: performance.getEntriesByName("first-contentful-paint")[0].startTime, overlay: overlay.duration, frames: rates };
    });

    const rates = Object.entries(frames).map(([name, rate]) => `${name} ${rate.toFixed(0)}`);
    console.log(`figures: first paint ${times.paint.toFixed(0)} ms; overlay ${times.overlay.toFixed(0)} ms after the drop; frames a second at 12 megapixels: ${rates.join(", ")}`);
    expect([...Object.values(frames), times.paint, times.overlay].every((figure) => figure > 0)).toBe(true);
  });

  it("allows no inline script and no other origin", async () => {
    const policy = (await fetch(ADDRESS)).headers.get("content-security-policy")!;
    const page = await openPage();

    const outcome = await page.evaluate(() => fetch("https://example.org/").then(() => "sent", () => "refused"));

    expect(outcome).toBe("refused");
    expect(policy).not.toContain("unsafe");
  });
});
