// Runs a keras-salnet model in the browser: predicts a map of where people look in an image.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";
import { picture, resize } from "./geometry.js";

const STRIP = 64; // image rows read at once, since a photograph may not fit into a canvas

export class Saliency {
  #model;

  constructor(model) {
    this.#model = model;
    const [, height, width] = model.signatures.serving_default.getInputDetails()[0].shape;
    Object.assign(this, { height, width }); // input size of the model
  }

  /**
   * Load a model.
   *
   * @param url of a .tflite file written by `keras-salnet export`.
   * @param runtime folder of LiteRT's WebAssembly.
   * @throws Error that names the missing file.
   */
  static async load(url, runtime) {
    const [bytes] = await Promise.all([download(url), loadLiteRt(runtime).catch(explain(runtime))]);
    // On the CPU, because GPUs do not support 8-bit models.
    const model = await loadAndCompile(bytes, { accelerator: "wasm" }).catch(explain(url));
    return new Saliency(model);
  }

  /**
   * Predict where people look.
   *
   * @param bitmap ImageBitmap; transparent pixels are composited over white.
   * @returns the map at the model's input size, for `levels`.
   */
  async predict(bitmap) {
    const { height, width } = this;
    const frame = resize(pixels(bitmap), height, width);
    const image = new Tensor(frame, [1, height, width, 3]);
    const { saliency } = await this.#model.run("serving_default", { image });
    const map = saliency.toTypedArray();
    image.delete();
    saliency.delete();
    return picture(map, height, width, 1);
  }
}

/**
 * A map as a greyscale picture, scaled to a maximum of 255.
 *
 * @param map returned by `predict`.
 * @param height, width of the result: the image's size, or another with its aspect ratio.
 * @returns Uint8Array of height * width levels.
 */
export function levels(map, height, width) {
  const values = resize(map, height, width);
  let peak = 0;
  for (const value of values) peak = Math.max(peak, value);
  return Uint8Array.from(values, (value) => (peak > 0 ? Math.round((255 * value) / peak) : 0));
}

/** An ImageBitmap as input for `resize`: RGB, without the alpha value of each pixel. */
function pixels(bitmap) {
  const { height, width } = bitmap;
  const canvas = new OffscreenCanvas(width, Math.min(STRIP, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  let strip, top;
  const row = (y) => {
    if (y - (y % STRIP) !== top) {
      top = y - (y % STRIP);
      context.fillRect(0, 0, width, canvas.height);
      context.drawImage(bitmap, 0, -top);
      strip = context.getImageData(0, 0, width, canvas.height).data;
    }
    const start = (y - top) * width * 4;
    return strip.subarray(start, start + width * 4);
  };
  return { height, width, channels: 3, stride: 4, row };
}

async function download(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answers ${response.status}.`);
  return new Uint8Array(await response.arrayBuffer());
}

// LiteRT rejects with an event if a file is missing, and with a number if C++ threw.
const explain = (what) => (error) => {
  throw new Error(`${what}: ${error?.message ?? "it cannot be loaded"}.`);
};
