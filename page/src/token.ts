/** Asks the user for a token where the server wants one. */

import type { Api } from "./api";
import { byId } from "./dom";

/** Takes a token over into `api`; false if the user gives none. */
export async function askForToken(api: Api, reason: string): Promise<boolean> {
  const dialog = byId<HTMLDialogElement>("token");
  const input = byId<HTMLInputElement>("token-value");
  byId("token-text").textContent = reason;
  input.value = "";
  if (dialog.open) return false;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "use" || !input.value) return false;
  api.token = input.value;
  return true;
}
