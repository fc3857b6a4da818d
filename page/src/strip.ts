/** The strip of photographs below the stage. */

import { byId, element } from "./dom";
import type { Photo, State } from "./photos";

const WORDS: Record<State, string> = { waiting: "waiting", running: "working", done: "", failed: "failed", cancelled: "cancelled" };

export function showStrip(photos: Photo[], current: Photo | undefined, onSelect: (photo: Photo) => void): void {
  const root = byId("strip");
  const hadFocus = root.contains(document.activeElement);
  root.hidden = photos.length < 2;
  root.replaceChildren(...photos.map((photo) => item(photo, photo === current, onSelect)));
  if (hadFocus) root.querySelector<HTMLElement>("[aria-current=true]")?.focus();
}

function item(photo: Photo, isCurrent: boolean, onSelect: (photo: Photo) => void): HTMLLIElement {
  const thumbnail = photo.thumbnail ?? element("canvas");
  const word = WORDS[photo.state];
  const choose = element("button", { type: "button", "aria-label": `${photo.name}${word && `, ${word}`}`, "aria-current": isCurrent && "true", title: photo.name }, thumbnail);
  if (word) choose.append(element("span", { class: "state" }, word));
  choose.addEventListener("click", () => onSelect(photo));
  return element("li", {}, choose);
}
