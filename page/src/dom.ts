/** DOM helpers. Text is always text: nothing here parses markup. */

export function byId<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

type Attributes = Record<string, string | number | boolean | undefined>;

/** Creates an element; attributes that are false or undefined are omitted. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children);
  return node;
}

export function button(label: string, onClick: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const node = element("button", { type: "button", ...attributes }, label);
  node.addEventListener("click", onClick);
  return node;
}

/** Returns a function that runs `draw` in the next frame, once however often it is called. */
export function eachFrame(draw: () => void): () => void {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
}

export function saveFile(bytes: Blob, name: string): void {
  const url = URL.createObjectURL(bytes);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function percent(share: number, digits = 1): string {
  // A non-breaking space keeps the number and the sign on one line.
  return `${(share * 100).toFixed(digits)}\u00a0%`;
}
