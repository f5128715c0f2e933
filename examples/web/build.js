// Copies the page, LiteRT and a model into dist/: npm run build [-- MODEL.tflite]

import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "dist");
const litert = join(here, "node_modules/@litertjs");
const model = process.argv[2] ?? join(here, "../../keras_salnet/weights/fast.tflite");

rmSync(dist, { recursive: true, force: true });
cpSync(join(here, "src"), dist, { recursive: true });
cpSync(model, join(dist, "model.tflite"));
mkdirSync(join(dist, "litert"));
cpSync(join(litert, "core/dist/index.js"), join(dist, "litert/core.js"));
cpSync(join(litert, "wasm-utils/dist/index.js"), join(dist, "litert/wasm-utils.js"));
// Copy two of the four builds: threads would need a server that isolates the page, and JSPI is for
// GPUs. The browser loads one of the two, "compat" if it does not support relaxed SIMD.
for (const name of readdirSync(join(litert, "core/wasm")))
  if (/^litert_wasm_(compat_)?internal\.(js|wasm)$/.test(name))
    cpSync(join(litert, "core/wasm", name), join(dist, "litert", name));
