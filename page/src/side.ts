/** The controls for one side of a comparison: a model and its settings. */

import type { Options } from "./api";
import { element } from "./dom";

/** Labels for the API's options that affect the network's input and output. */
const SETTINGS: { option: string; label: string; choices: [value: string, text: string][] }[] = [
  { option: "tiles", label: "Tiles", choices: [["1", "whole picture"], ["2", "2 × 2"], ["3", "3 × 3"], ["4", "4 × 4"]] },
  { option: "scales", label: "Sizes", choices: [["1", "one"], ["0.75,1,1.25", "three"], ["0.5,0.75,1,1.25,1.5", "five"]] },
  { option: "flip", label: "Mirror", choices: [["false", "no"], ["true", "also mirrored"]] },
  { option: "refine", label: "Edges", choices: [["none", "as predicted"], ["crf", "follow the picture"]] },
];

export class Side {
  private readonly model = element("select");
  private readonly settings = new Map<string, HTMLSelectElement>();

  constructor(root: HTMLElement, onChange: () => void) {
    const details = element("details", {}, element("summary", {}, "Settings"));
    for (const { option, label, choices } of SETTINGS) {
      const select = element("select", {}, element("option", { value: "" }, "server default"));
      for (const [value, text] of choices) select.append(element("option", { value }, text));
      this.settings.set(option, select);
      details.append(element("label", {}, element("span", {}, label), select));
    }
    root.append(element("label", {}, element("span", {}, "Model"), this.model), details);
    root.addEventListener("change", onChange);
  }

  setModels(names: string[], chosen: string): void {
    this.model.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    this.model.value = chosen;
  }

  get name(): string {
    return this.model.value;
  }

  /** The options that differ from the server's defaults. */
  get options(): Options {
    return Object.fromEntries([...this.settings].map(([name, select]) => [name, select.value]).filter(([, value]) => value));
  }

  /** The side's title for people, including its settings. */
  get title(): string {
    const settings = [...this.settings.values()].filter((select) => select.value).map((select) => select.selectedOptions[0].text);
    return [this.name, ...settings].join(" · ");
  }

  get key(): string {
    return JSON.stringify([this.name, this.options]);
  }
}
