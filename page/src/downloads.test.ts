import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { flatten } from "./about";
import { curlCommand, pythonProgram, type Request } from "./downloads";

const NAMES = ["photo.jpg", "it's; rm -rf $HOME `id` \"a\\b\",c=d.jpg", "Straße 1.jpg"];
const request = (photo: string): Request => ({ url: "http://127.0.0.1:8080/predictions/m", photo, options: { format: "coco", image_name: photo }, output: `${photo}.json`, needsToken: true });

/** Returns the words into which a shell splits a command, by running a program that prints them in place of curl. */
function shellWords(command: string): string[] {
  const printed = execFileSync("sh", ["-c", command.replace(/^curl/, "printf '%s\\0'")], { env: { TOKEN: "t0k" } });
  return printed.toString().split("\0").slice(0, -1);
}

describe("curlCommand", () => {
  it.each(NAMES)("quotes the name %j for the shell", (name) => {
    const words = shellWords(curlCommand(request(name)));

    expect(words).toContain(`image_name=${name}`);
    expect(words).toContain(`data=@"${name.replace(/[\\"]/g, "\\$&")}"`);
    expect(words).toContain("Authorization: Bearer t0k");
    expect(words.at(-1)).toBe(`${name}.json`);
  });
});

describe("pythonProgram", () => {
  it.each(NAMES)("quotes the name %j as Python does", (name) => {
    const program = pythonProgram(request(name));

    expect(program).toContain(`open(${JSON.stringify(name)}, "rb")`);
    expect(program.startsWith("import os")).toBe(true);
  });
});

describe("flatten", () => {
  it("lists leaves with their paths, and omits null", () => {
    expect(flatten({ engine: "openvino", none: null, metrics: [{ miou: 0.64651 }], mean: [0.5, 0.5] })).toEqual([["engine", "openvino"], ["metrics 1 miou", "0.6465"], ["mean", "0.5, 0.5"]]);
  });
});
