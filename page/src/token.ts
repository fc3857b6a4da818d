/** Asks the user for a token if the server requires one. */

import type { Api } from "./api";
import { byId } from "./dom";

/** Sets the token of `api`; returns false if the user gives none. */
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
