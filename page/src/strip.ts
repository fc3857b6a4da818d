/** The strip of photographs below the stage. */

import { byId, element } from "./dom";
import type { Photo, State } from "./photos";

const WORDS: Record<State, string> = { waiting: "waiting", running: "working", done: "", failed: "refused", cancelled: "cancelled" };

export function showStrip(photos: Photo[], current: Photo | undefined, onSelect: (photo: Photo) => void): void {
  const root = byId("strip");
  const hadFocus = root.contains(document.activeElement);
  root.hidden = photos.length < 2;
  root.replaceChildren(...photos.map((photo) => item(photo, photo === current, onSelect)));
  if (hadFocus) root.querySelector<HTMLElement>("[aria-current=true]")?.focus();
}

function item(photo: Photo, isCurrent: boolean, onSelect: (photo: Photo) => void): HTMLLIElement {
  const thumbnail = element("canvas", { width: 132, height: 102, "aria-hidden": "true" });
  if (photo.picture) {
    const { width, height, smallest } = photo.picture;
    const scale = Math.max(thumbnail.width / width, thumbnail.height / height);
    const [w, h] = [width * scale, height * scale];
    thumbnail.getContext("2d")!.drawImage(smallest, (thumbnail.width - w) / 2, (thumbnail.height - h) / 2, w, h);
  }
  const word = WORDS[photo.state];
  const choose = element("button", { type: "button", "aria-label": `${photo.name}${word && `, ${word}`}`, "aria-current": isCurrent && "true", title: photo.name }, thumbnail);
  if (word) choose.append(element("span", { class: "state" }, word));
  choose.addEventListener("click", () => onSelect(photo));
  return element("li", {}, choose);
}
