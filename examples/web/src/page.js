// The page: reads pictures from a file, the clipboard or the camera; shows and saves heat maps.

import { grey, heatmap } from "./heatmap.js";
import { Saliency, levels } from "./saliency.js";

const ON_SCREEN = 1e6; // pixels to draw
const SAVED = 2 ** 24; // pixels to save: the canvas limit common to all browsers
// The pixel values of the file, with EXIF orientation applied: as in Python.
const AS_STORED = { imageOrientation: "from-image", colorSpaceConversion: "none" };

const element = (id) => document.getElementById(id);
const [status, error, stage, rate] = ["status", "error", "stage", "rate"].map(element);
const [opacity, file, cameraButton] = ["opacity", "file", "camera"].map(element);

let shown; // {bitmap, map, name}
let turn = 0; // of the latest request; results of earlier turns are discarded
let camera; // MediaStream, while it is live

const loading = Saliency.load("model.tflite", "litert/");
loading.then(
  () => tell("Ready."),
  (reason) => fail(`The model cannot be loaded. ${reason.message}`),
);

function tell(text) {
  status.textContent = text;
  error.hidden = true;
}

function fail(text) {
  status.textContent = "";
  error.textContent = text;
  error.hidden = false;
}

async function open(chosen) {
  stop();
  const mine = turn;
  const name = chosen.name || "picture";
  tell(`Predicting ${name}…`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(chosen, AS_STORED);
  } catch {
    if (mine === turn) fail(`${name}: this browser cannot read it as a picture.`);
    return;
  }
  try {
    const saliency = await loading;
    await nextFrame(); // shows the status before the work starts
    if (mine !== turn) return bitmap.close();
    const begin = performance.now();
    const map = await saliency.predict(bitmap);
    const took = Math.round(performance.now() - begin);
    show(bitmap, map, name);
    tell(`${name}, ${bitmap.width} × ${bitmap.height} pixels, in ${took} ms.`);
  } catch (reason) {
    fail(`${name}: ${reason.message}`);
  }
}

async function start() {
  stop();
  const mine = turn;
  tell("Waiting for the camera…");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: { ideal: "environment" }, width: { ideal: 640 } },
    });
  } catch (reason) {
    return fail(withoutCamera(reason));
  }
  if (mine !== turn) return stream.getTracks().forEach((track) => track.stop());
  camera = stream;
  cameraButton.textContent = "Stop the camera";
  try {
    await play(stream, await loading);
  } catch (reason) {
    stop();
    fail(`Camera error: ${reason.message}`);
  }
}

async function play(stream, saliency) {
  stream.getVideoTracks()[0].onended = () => {
    stop();
    fail("The camera was disconnected.");
  };
  const video = Object.assign(document.createElement("video"), {
    srcObject: stream,
    muted: true,
    playsInline: true, // otherwise phones show it full screen
  });
  await video.play();
  tell("Live from the camera.");
  let times = [];
  while (camera === stream) {
    const bitmap = await createImageBitmap(video);
    const map = await saliency.predict(bitmap);
    if (camera !== stream) return bitmap.close();
    show(bitmap, map, "camera");
    const now = performance.now();
    times = [...times.filter((time) => now - time < 2000), now];
    if (times.length > 1) {
      const second = (now - times[0]) / 1000;
      rate.textContent = `${((times.length - 1) / second).toFixed(1)} frames per second`;
      rate.hidden = false;
    }
    await nextFrame();
  }
}

function stop() {
  turn++;
  if (!camera) return;
  camera.getTracks().forEach((track) => track.stop());
  camera = undefined;
  cameraButton.textContent = "Use the camera";
  rate.hidden = true;
  tell("The camera is off.");
}

function withoutCamera(reason) {
  if (!navigator.mediaDevices) return "Browsers open the camera only on https or localhost.";
  if (reason.name === "NotFoundError") return "No camera found.";
  if (reason.name === "NotAllowedError") return "Access to the camera was denied.";
  return `The camera cannot be opened: ${reason.message}`;
}

function show(bitmap, map, name) {
  shown?.bitmap.close();
  shown = { bitmap, map, name };
  const { height, width } = within(bitmap, ON_SCREEN);
  const image = canvas(height, width, element("image"));
  image.drawImage(bitmap, 0, 0, width, height);
  const heat = canvas(height, width, element("heat"));
  heat.putImageData(heatmap(levels(map, height, width), height, width), 0, 0);
  element("empty").hidden = true;
  element("result").hidden = element("tools").hidden = false;
  element("save-picture").disabled = element("save-map").disabled = false;
}

function savePicture() {
  const { bitmap, map, name } = shown;
  const { height, width } = within(bitmap, SAVED);
  const heat = canvas(height, width);
  heat.putImageData(heatmap(levels(map, height, width), height, width), 0, 0);
  const picture = canvas(height, width);
  picture.fillStyle = "white";
  picture.fillRect(0, 0, width, height);
  picture.drawImage(bitmap, 0, 0, width, height);
  picture.globalAlpha = opacity.value / 100;
  picture.drawImage(heat.canvas, 0, 0);
  save(picture.canvas, `${stem(name)}_overlay.png`);
}

function saveMap() {
  const { bitmap, map, name } = shown;
  const { height, width } = within(bitmap, SAVED);
  const picture = canvas(height, width);
  picture.putImageData(grey(levels(map, height, width), height, width), 0, 0);
  save(picture.canvas, `${stem(name)}_saliency.png`);
}

function save(picture, name) {
  picture.toBlob((blob) => {
    if (!blob) return fail(`${name}: not enough memory to save it.`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers read it with a delay
  });
}

function canvas(height, width, of = document.createElement("canvas")) {
  Object.assign(of, { height, width });
  return of.getContext("2d");
}

/** The size of a bitmap, reduced to at most `most` pixels. */
function within({ height, width }, most) {
  const scale = Math.min(1, Math.sqrt(most / (height * width)));
  const side = (length) => Math.max(1, Math.floor(scale * length));
  return { height: side(height), width: side(width) };
}

const stem = (name) => name.replace(/\.[^.]*$/, "") || name;
const nextFrame = () => new Promise(requestAnimationFrame);

function receive(files, otherwise) {
  if (files?.length) open(files[0]);
  else fail(otherwise);
}

function showOpacity() {
  element("heat").style.opacity = opacity.value / 100;
  element("percent").textContent = `${opacity.value} %`;
}

element("choose").onclick = () => file.click();
file.onchange = () => {
  if (file.files.length) open(file.files[0]);
  file.value = ""; // allows choosing the same file again
};
cameraButton.onclick = () => (camera ? stop() : start());
element("save-picture").onclick = savePicture;
element("save-map").onclick = saveMap;
opacity.oninput = showOpacity;
showOpacity();

addEventListener("paste", ({ clipboardData }) =>
  receive(clipboardData.files, "There is no picture on the clipboard."),
);
addEventListener("dragover", (event) => {
  event.preventDefault();
  stage.classList.add("dropping");
});
addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) stage.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("dropping");
  receive(event.dataTransfer.files, "Only files can be dropped; save the picture first.");
});
