import { describe, expect, it } from "vitest";
import { parseServerTiming, refusal } from "./api";
import { Viewport } from "./viewport";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("refusal", () => {
  it("has the server's message", () => {
    const error = refusal(413, "Payload Too Large", bytes('{"error":"too large","code":413,"type":"ImageTooLarge","message":"too large"}'));

    expect([error.message, error.status, error.type]).toEqual(["too large", 413, "ImageTooLarge"]);
  });

  it.each([["<html>502</html>"], ["[]"], ["null"], [""]])("describes a proxy's answer %j by its status", (text) => {
    expect(refusal(502, "Bad Gateway", bytes(text)).message).toBe("The server answered 502 Bad Gateway.");
  });
});

describe("parseServerTiming", () => {
  it("reads names and milliseconds", () => {
    expect(parseServerTiming("queue;dur=0.1, network;dur=35.94")).toEqual([["queue", 0.1], ["network", 35.94]]);
    expect(parseServerTiming("")).toEqual([]);
  });
});

describe("Viewport", () => {
  it("keeps the pixel under the pointer while it zooms", () => {
    const viewport = new Viewport();
    viewport.resize(800, 600, 4000, 3000);
    const before = viewport.pixel(300.1, 200.1);

    for (let i = 0; i < 20; i++) viewport.zoom(1.2, 300.1, 200.1);

    expect(viewport.pixel(300.1, 200.1)).toEqual(before);
  });

  it("shows single pixels at the closest, and all at the farthest", () => {
    const viewport = new Viewport();
    viewport.resize(800, 600, 4000, 3000);

    viewport.zoom(1e6);
    expect(viewport.scale).toBe(64);
    viewport.zoom(1e-9);
    expect([viewport.scale, viewport.left, viewport.top]).toEqual([0.2, 0, 0]);
    expect(viewport.pixel(800, 10)).toBeUndefined();
  });
});
