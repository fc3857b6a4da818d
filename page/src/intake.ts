/** All ways to add a photograph: drop, paste, file picker, camera, sample. */

import { byId, button, element } from "./dom";

const SAMPLES = [
  { file: "astronaut.jpg", about: "an astronaut" },
  { file: "chelsea.jpg", about: "a cat" },
];

type Give = (files: { blob: Blob; name: string }[]) => void;

export function listenForPhotographs(give: Give, notice: (text: string) => void): void {
  const input = byId<HTMLInputElement>("files");
  byId("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    give(named(input.files));
    input.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = named(event.clipboardData?.files);
    if (files.length) give(files);
  });
  listenForDrops(give);
  byId("webcam").addEventListener("click", () => void useCamera(give, notice));
  showSamples(give, notice);
}

function named(files: FileList | null | undefined): { blob: Blob; name: string }[] {
  return [...(files ?? [])].map((file) => ({ blob: file, name: file.name }));
}

function listenForDrops(give: Give): void {
  const stage = byId("stage");
  let depth = 0;
  const over = (change: number) => {
    depth = change ? Math.max(0, depth + change) : 0;
    stage.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", () => over(1));
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(0);
    const files = named(event.dataTransfer?.files);
    if (files.length) give(files);
  });
}

function showSamples(give: Give, notice: (text: string) => void): void {
  for (const { file, about } of SAMPLES) {
    const url = `samples/${file}`;
    const load = async () => {
      try {
        const response = await fetch(url);
        if (!response.ok) throw new Error();
        give([{ blob: await response.blob(), name: file }]);
      } catch {
        notice("The sample cannot be loaded: the server does not answer.");
      }
    };
    const choice = button("", () => void load(), { "aria-label": `Sample: ${about}` });
    choice.append(element("img", { src: url, alt: "" }), about);
    byId("samples").append(choice);
  }
}

async function useCamera(give: Give, notice: (text: string) => void): Promise<void> {
  if (!navigator.mediaDevices?.getUserMedia) {
    notice("Browsers allow cameras only over HTTPS or on this machine; this page came over plain HTTP from another one.");
    return;
  }
  const dialog = byId<HTMLDialogElement>("camera");
  const video = byId<HTMLVideoElement>("video");
  const text = byId("camera-text");
  const shoot = byId<HTMLButtonElement>("shoot");
  let stream: MediaStream | undefined;
  text.textContent = "Waiting for the camera …";
  shoot.disabled = true;
  dialog.showModal();
  byId("camera-close").onclick = () => dialog.close();
  dialog.onclose = () => {
    stream?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  shoot.onclick = async () => {
    const blob = await still(video);
    dialog.close();
    if (blob) give([{ blob, name: "camera.jpg" }]);
  };
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
    if (!dialog.open) return stream.getTracks().forEach((track) => track.stop());
    video.srcObject = stream;
    await video.play();
    shoot.disabled = false;
    text.textContent = "When you take the picture, it is sent to this server only.";
  } catch (error) {
    const refused = error instanceof DOMException && error.name === "NotAllowedError";
    text.textContent = refused ? "Access to the camera is blocked; you can allow it in the browser's address bar." : "No camera is available.";
  }
}

function still(video: HTMLVideoElement): Promise<Blob | null> {
  const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d")!.drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
}
