/** Photographs that the user gave, and their pictures for the screen. */

import type { Api } from "./api";
import { Picture } from "./draw";

export type State = "waiting" | "running" | "done" | "failed" | "cancelled";

export interface Photo {
  id: number;
  name: string;
  file: Blob;
  state: State;
  /** The reason of a failure, in the server's words. */
  reason?: string;
  picture?: Picture;
}

let count = 0;

export function makePhoto(file: Blob, name: string): Photo {
  return { id: ++count, name, file, state: "waiting" };
}

/** Makes the picture, upright. What browsers cannot show, as TIFF, the server turns into a JPEG. */
export async function makePicture(photo: Photo, api: Api, model: string, signal: AbortSignal): Promise<Picture> {
  try {
    return new Picture(await createImageBitmap(photo.file));
  } catch {
    const overlay = await api.predict(model, photo.file, { format: "overlay", alpha: "0" }, { signal });
    return new Picture(await createImageBitmap(new Blob([overlay.bytes])));
  }
}
