/** The user's photographs, and their pictures for the screen. */

import type { Api } from "./api";
import { Picture } from "./draw";

export type State = "waiting" | "running" | "done" | "failed" | "cancelled";

export interface Photo {
  id: number;
  name: string;
  file: Blob;
  state: State;
  /** Why it failed, in the server's words. */
  reason?: string;
  /** Kept for the selected photograph only: a picture of 12 megapixels takes 50 MB. */
  picture?: Picture;
  thumbnail?: HTMLCanvasElement;
}

let count = 0;

export function makePhoto(file: Blob, name: string): Photo {
  return { id: ++count, name, file, state: "waiting" };
}

/** Creates the picture, upright; returns undefined for formats that the browser cannot show, such as TIFF. */
export async function makePicture(photo: Photo): Promise<Picture | undefined> {
  try {
    return new Picture(await createImageBitmap(photo.file));
  } catch {
    return undefined;
  }
}

/** Requests the picture from the server. */
export async function fetchPicture(photo: Photo, api: Api, model: string, signal: AbortSignal): Promise<Picture> {
  const overlay = await api.predict(model, photo.file, { format: "overlay", alpha: "0" }, { signal });
  return new Picture(await createImageBitmap(new Blob([overlay.bytes])));
}

/** Returns a file's name without its suffix. */
export function stem(name: string): string {
  return name.replace(/\.[^.]*$/, "") || "photograph";
}
