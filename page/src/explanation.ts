/** The dialog that shows which parts of the photograph support a class. */

import { type Api, Cancelled } from "./api";
import { byId } from "./dom";
import type { Photo } from "./photos";

/** Asks `model` to explain the class `name`, which has the index `index`. */
export async function explain(api: Api, model: string, photo: Photo, name: string, index: number): Promise<void> {
  const [dialog, image, text] = [byId<HTMLDialogElement>("explanation"), byId<HTMLImageElement>("explanation-image"), byId("explanation-text")];
  const controller = new AbortController();
  byId("explanation-title").textContent = `Why ${name}?`;
  text.textContent = "Asking the model …";
  image.hidden = true;
  byId("explanation-close").onclick = () => dialog.close();
  dialog.onclose = () => {
    controller.abort();
    URL.revokeObjectURL(image.src);
  };
  dialog.showModal();
  try {
    const answer = await api.explain(model, photo.file, { classes: String(index) }, { signal: controller.signal });
    image.src = URL.createObjectURL(new Blob([answer.bytes], { type: "image/png" }));
    image.alt = `The photograph, tinted by how much each part supports ${name}`;
    image.hidden = false;
    text.textContent = `Red areas support ${name} most, blue areas least.`;
  } catch (error) {
    if (!(error instanceof Cancelled)) text.textContent = error instanceof Error ? error.message : String(error);
  }
}
