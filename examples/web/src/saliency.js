// A model of keras-salnet in the browser: an image in, the map of where people look out.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";
import { picture, resize } from "./geometry.js";

const STRIP = 64; // rows of an image that are read at once: a photograph need not fit into a canvas

export class Saliency {
  #model;

  constructor(model) {
    this.#model = model;
    const [, height, width] = model.signatures.serving_default.getInputDetails()[0].shape;
    Object.assign(this, { height, width }); // of the model's frame
  }

  /**
   * Load a model.
   *
   * @param url of a .tflite file, as `keras-salnet export` writes it.
   * @param runtime the folder of LiteRT's WebAssembly.
   * @throws Error that says what was missing.
   */
  static async load(url, runtime) {
    const [bytes] = await Promise.all([download(url), loadLiteRt(runtime).catch(explain(runtime))]);
    // On the CPU, as GPUs know no models in 8 bits.
    const model = await loadAndCompile(bytes, { accelerator: "wasm" }).catch(explain(url));
    return new Saliency(model);
  }

  /**
   * Predict where people look.
   *
   * @param bitmap ImageBitmap; what is transparent is seen over white.
   * @returns the map in the model's frame, for `levels`.
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
 * A map as a greyscale picture, 255 where most people look.
 *
 * @param map of `predict`.
 * @param height, width to bring it to: the image's own, or others of its proportions.
 * @returns Uint8Array of height * width levels.
 */
export function levels(map, height, width) {
  const values = resize(map, height, width);
  let peak = 0;
  for (const value of values) peak = Math.max(peak, value);
  return Uint8Array.from(values, (value) => (peak > 0 ? Math.round((255 * value) / peak) : 0));
}

/** An ImageBitmap as `resize` takes it: RGB, the fourth number of each pixel left out. */
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

// LiteRT rejects with an event where a file is missing, and with a number where C++ threw.
const explain = (what) => (error) => {
  throw new Error(`${what}: ${error?.message ?? "it cannot be loaded"}.`);
};
