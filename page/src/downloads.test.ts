import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { flatten } from "./about";
import { curlCommand, pythonProgram, type Request } from "./downloads";

const NAMES = ["photo.jpg", "it's; rm -rf $HOME `id` \"a\\b\",c=d.jpg", "Straße 1.jpg"];
const request = (photo: string): Request => ({ url: "http://127.0.0.1:8080/predictions/m", photo, options: { format: "coco", image_name: photo }, output: `${photo}.json`, needsToken: true });

/** Returns the words that a shell makes of a command, whose name is replaced by a program that prints them. */
function words(command: string): string[] {
  const printed = execFileSync("sh", ["-c", command.replace(/^curl/, "printf '%s\\0'")], { env: { TOKEN: "t0k" } });
  return printed.toString().split("\0").slice(0, -1);
}

describe("curlCommand", () => {
  it.each(NAMES)("gives the shell the name %j as it is", (name) => {
    const given = words(curlCommand(request(name)));

    expect(given).toContain(`image_name=${name}`);
    expect(given).toContain(`data=@"${name.replace(/[\\"]/g, "\\$&")}"`);
    expect(given).toContain("Authorization: Bearer t0k");
    expect(given.at(-1)).toBe(`${name}.json`);
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
  it("lists leaves with their paths, without what is not set", () => {
    expect(flatten({ engine: "openvino", none: null, metrics: [{ miou: 0.64651 }], mean: [0.5, 0.5] })).toEqual([["engine", "openvino"], ["metrics 1 miou", "0.6465"], ["mean", "0.5, 0.5"]]);
  });
});
