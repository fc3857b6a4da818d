/** All ways to add a photograph: drop, paste, file picker, camera, sample. */

import { byId, button, element } from "./dom";

const SAMPLES = [
  { file: "astronaut.jpg", about: "an astronaut" },
  { file: "chelsea.jpg", about: "a cat" },
];

type AddPhotographs = (files: { blob: Blob; name: string }[]) => void;

export function listenForPhotographs(add: AddPhotographs, notice: (text: string) => void): void {
  const input = byId<HTMLInputElement>("files");
  byId("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    add(namedFiles(input.files));
    input.value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = namedFiles(event.clipboardData?.files);
    if (files.length) add(files);
  });
  listenForDrops(add);
  byId("webcam").addEventListener("click", () => void useCamera(add, notice));
  showSamples(add, notice);
}

function namedFiles(files: FileList | null | undefined): { blob: Blob; name: string }[] {
  return [...(files ?? [])].map((file) => ({ blob: file, name: file.name }));
}

function listenForDrops(add: AddPhotographs): void {
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
    const files = namedFiles(event.dataTransfer?.files);
    if (files.length) add(files);
  });
}

function showSamples(add: AddPhotographs, notice: (text: string) => void): void {
  for (const { file, about } of SAMPLES) {
    const url = `samples/${file}`;
    const load = async () => {
      try {
        const response = await fetch(url);
        if (!response.ok) throw new Error();
        add([{ blob: await response.blob(), name: file }]);
      } catch {
        notice("The sample cannot be loaded: the server does not answer.");
      }
    };
    const choice = button("", () => void load(), { "aria-label": `Sample: ${about}` });
    choice.append(element("img", { src: url, alt: "" }), about);
    byId("samples").append(choice);
  }
}

async function useCamera(add: AddPhotographs, notice: (text: string) => void): Promise<void> {
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
    if (blob) add([{ blob, name: "camera.jpg" }]);
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
