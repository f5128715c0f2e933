// Resizes images to the model's input size, and maps back: bit-identical in float32 to what OpenCV
// does for keras_salnet/images/geometry.py.
//
// Near equality is not enough. An 8-bit model rounds every pixel, so pixels that differ by a
// thousandth of a level may round differently, and later layers amplify the difference.

const { fround } = Math;

/**
 * Resize an image: area averaging to shrink, bilinear interpolation to enlarge.
 *
 * @param image {height, width, channels, row}: row(y) returns the values of a row, pixel by pixel;
 *     rows are requested from top to bottom. `stride` is the number of values per pixel if it
 *     exceeds channels.
 * @param height, width of the result.
 * @returns Float32Array of height * width * channels values.
 */
export function resize(image, height, width) {
  const low = Math.min(image.height, height);
  const narrow = Math.min(image.width, width);
  return grow(shrink(image, low, narrow), height, width).data;
}

/** An array of height * width * channels values as input for `resize`. */
export function picture(data, height, width, channels) {
  const length = width * channels;
  const row = (y) => data.subarray(y * length, (y + 1) * length);
  return { data, height, width, channels, row };
}

function shrink(image, height, width) {
  const { channels, stride = channels } = image;
  const [down, across] = [image.height / height, image.width / width];
  // Areas of whole pixels are summed, and divided at the end.
  const whole = Number.isInteger(down) && Number.isInteger(across);
  const rows = areas(image.height, height, whole);
  const columns = areas(image.width, width, whole);
  const part = whole ? fround(1 / (down * across)) : 1;
  const length = width * channels;
  const data = new Float32Array(height * length);
  const line = new Float32Array(length);
  let held = -1; // the image row in `line`; two neighbouring rows of the result may share it
  for (let place = 0; place < height; place++) {
    const sum = data.subarray(place * length, (place + 1) * length);
    const { first, weights } = rows[place];
    for (let tap = 0; tap < weights.length; tap++) {
      if (held !== first + tap) {
        held = first + tap;
        shrinkRow(image.row(held), stride, columns, channels, line);
      }
      for (let i = 0; i < length; i++) sum[i] += fround(weights[tap] * line[i]);
    }
    for (let i = 0; i < length; i++) sum[i] *= part;
  }
  return picture(data, height, width, channels);
}

function shrinkRow(pixels, stride, columns, channels, line) {
  let place = 0;
  for (const { first, weights } of columns) {
    for (let channel = 0; channel < channels; channel++) {
      let from = first * stride + channel;
      let sum = 0;
      for (let tap = 0; tap < weights.length; tap++, from += stride)
        sum = fround(sum + fround(weights[tap] * pixels[from]));
      line[place++] = sum;
    }
  }
}

/** For each of `target` pixels, the `source` pixels that it averages: `weights`, starting at `first`. */
function areas(source, target, whole) {
  const scale = 1 / (target / source); // rounded as in OpenCV
  return Array.from({ length: target }, (_, index) => {
    if (whole) {
      const count = source / target;
      return { first: index * count, weights: new Float32Array(count).fill(1) };
    }
    const begin = index * scale;
    const end = begin + scale;
    const area = Math.min(scale, source - begin);
    const last = Math.min(Math.floor(end), source - 1);
    const first = Math.min(Math.ceil(begin), last);
    const weights = Array(last - first).fill(1 / area);
    // Less than a thousandth of a pixel is ignored.
    const before = first - begin > 1e-3;
    if (before) weights.unshift((first - begin) / area);
    if (end - last > 1e-3) weights.push(Math.min(end - last, 1, area) / area);
    return { first: before ? first - 1 : first, weights: Float32Array.from(weights) };
  });
}

function grow(image, height, width) {
  if (image.height === height && image.width === width) return image;
  const { channels } = image;
  const rows = places(image.height, height);
  const columns = places(image.width, width);
  const length = width * channels;
  const lines = new Float32Array(image.height * length);
  for (let y = 0, to = 0; y < image.height; y++) {
    const line = image.row(y);
    for (const { first, next, part } of columns)
      for (let channel = 0; channel < channels; channel++)
        lines[to++] = between(line[first * channels + channel], line[next * channels + channel], part);
  }
  const data = new Float32Array(height * length);
  let to = 0;
  for (const { first, next, part } of rows)
    for (let i = 0; i < length; i++)
      data[to++] = between(lines[first * length + i], lines[next * length + i], part);
  return picture(data, height, width, channels);
}

/** For each of `target` pixels, the two `source` pixels around it and its position between them. */
function places(source, target) {
  return Array.from({ length: target }, (_, index) => {
    // Pixel centres are at halves; beyond the outermost, the border pixel is repeated.
    const place = ((index + 0.5) * source) / target - 0.5;
    const first = Math.max(0, Math.min(Math.floor(place), source - 1));
    const next = Math.min(first + 1, source - 1);
    return { first, next, part: fround(Math.max(0, place - first)) };
  });
}

const between = (low, high, part) => low + fround(high - low) * part;
