// How an image of any size lies in the model's frame, and the way back: what OpenCV does for
// keras_salnet/data/geometry.py, to the last bit of its float32.
//
// Close would not do. A model in 8 bits rounds every pixel, and where pixels differ by a thousandth
// of a level, some come out on the other side of a half, which the layers behind it magnify.

const { fround } = Math;

/**
 * Resample: the mean over an area where an image shrinks, bilinear where it grows.
 *
 * @param image {height, width, channels, row}: row(y) gives the numbers of a row, pixel by pixel;
 *     rows are asked for from the top to the bottom. Where a pixel has more numbers than channels,
 *     `stride` says how many.
 * @param height, width of the result.
 * @returns Float32Array of height * width * channels numbers.
 */
export function resize(image, height, width) {
  const low = Math.min(image.height, height);
  const narrow = Math.min(image.width, width);
  return grow(shrink(image, low, narrow), height, width).data;
}

/** An array of height * width * channels numbers as what `resize` takes. */
export function picture(data, height, width, channels) {
  const length = width * channels;
  const row = (y) => data.subarray(y * length, (y + 1) * length);
  return { data, height, width, channels, row };
}

function shrink(image, height, width) {
  const { channels, stride = channels } = image;
  const [down, across] = [image.height / height, image.width / width];
  // Areas of whole pixels are added up, and divided at the end.
  const whole = Number.isInteger(down) && Number.isInteger(across);
  const rows = areas(image.height, height, whole);
  const columns = areas(image.width, width, whole);
  const part = whole ? fround(1 / (down * across)) : 1;
  const length = width * channels;
  const data = new Float32Array(height * length);
  const line = new Float32Array(length);
  let held = -1; // the row of the image in `line`: two neighbours of the result may share one
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

/** What of `source` pixels each of `target` pixels shows: from `first` on, by `weights`. */
function areas(source, target, whole) {
  const scale = 1 / (target / source); // as OpenCV rounds it
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
    // Less than a thousandth of a pixel is left out.
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

/** Between which of `source` pixels each of `target` pixels lies, and how far. */
function places(source, target) {
  return Array.from({ length: target }, (_, index) => {
    // Pixel centres lie at halves; outside of them, the border's pixel goes on.
    const place = ((index + 0.5) * source) / target - 0.5;
    const first = Math.max(0, Math.min(Math.floor(place), source - 1));
    const next = Math.min(first + 1, source - 1);
    return { first, next, part: fround(Math.max(0, place - first)) };
  });
}

const between = (low, high, part) => low + fround(high - low) * part;
