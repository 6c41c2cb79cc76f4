// Flow in colours, by Middlebury's wheel (Baker et al., IJCV 2011; colorcode.cpp): as the sheets of `tools inspect`.

const STEPS = [15, 6, 4, 11, 13, 6]; // from red to yellow, green, cyan, blue, magenta and back
const BOUND = 20, MIDDLE = 128, LARGEST = 127; // a stored value is 128 + rint(px * 127 / 20)

const WHEEL = (() => {
  const colours = [];
  let channel = [0, 1, 2], rising = true;
  for (const steps of STEPS) {
    for (let step = 0; step < steps; step += 1) {
      const ramp = Math.floor(255 * step / steps) / 255, colour = [0, 0, 0];
      colour[rising ? channel[0] : channel[1]] = 1;
      colour[rising ? channel[1] : channel[0]] = rising ? ramp : 1 - ramp;
      colours.push(colour);
    }
    if (!rising) channel = [channel[1], channel[2], channel[0]];
    rising = !rising;
  }
  return colours;
})();

const pixels = (stored) => (Math.max(stored, 1) - MIDDLE) * BOUND / LARGEST;

// Red, green and blue, 0 to 255, of a motion in pixels; full colour at `largest` pixels, darker beyond.
export function colour(u, v, largest) {
  const length = Math.hypot(u, v) / Math.max(largest, 1e-3);
  const place = (Math.atan2(-v, -u) / Math.PI + 1) / 2 * (WHEEL.length - 1);
  const below = Math.floor(place), part = place - below;
  return [0, 1, 2].map((c) => {
    const full = (1 - part) * WHEEL[below][c] + part * WHEEL[(below + 1) % WHEEL.length][c];
    return Math.floor(255 * (length <= 1 ? 1 - length * (1 - full) : full * 0.75));
  });
}

// The colour of each pair of stored values (u * 256 + v), as a canvas stores it.
export function table(largest) {
  const found = new Uint8ClampedArray(4 * 65536);
  for (let u = 0; u < 256; u += 1) {
    for (let v = 0; v < 256; v += 1) {
      found.set([...colour(pixels(u), pixels(v), largest), 255], 4 * (256 * u + v));
    }
  }
  return new Uint32Array(found.buffer);
}

const scratch = document.createElement("canvas");
const reader = scratch.getContext("2d", { willReadFrequently: true });

// Stored values of a flow picture, which has u over v.
export function stored(picture) {
  scratch.width = picture.width;
  scratch.height = picture.height;
  reader.drawImage(picture, 0, 0);
  const { data, width, height } = reader.getImageData(0, 0, picture.width, picture.height);
  return { data, width, height: height / 2 };
}

export function draw(canvas, { data, width, height }, colours) {
  const made = new ImageData(width, height), out = new Uint32Array(made.data.buffer), half = 4 * width * height;
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    out[pixel] = colours[256 * data[4 * pixel] + data[half + 4 * pixel]];
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(made, 0, 0);
}

// The length, in pixels, that 99 % of these motions do not exceed.
export function fastest(pictures) {
  const counts = new Uint32Array(300);
  let all = 0;
  for (const { data, width, height } of pictures) {
    const half = 4 * width * height;
    for (let pixel = 0; pixel < width * height; pixel += 7) {
      counts[Math.round(10 * Math.hypot(pixels(data[4 * pixel]), pixels(data[half + 4 * pixel])))] += 1;
      all += 1;
    }
  }
  let seen = 0;
  for (let step = 0; step < counts.length; step += 1) {
    seen += counts[step];
    if (seen >= 0.99 * all) return Math.max(step / 10, 0.1);
  }
  return BOUND;
}

export function drawWheel(canvas) {
  const side = canvas.width, context = canvas.getContext("2d"), made = context.createImageData(side, side);
  for (let y = 0; y < side; y += 1) {
    for (let x = 0; x < side; x += 1) {
      const u = 2 * x / (side - 1) - 1, v = 2 * y / (side - 1) - 1;
      if (Math.hypot(u, v) <= 1) made.data.set([...colour(u, v, 1), 255], 4 * (side * y + x));
    }
  }
  context.putImageData(made, 0, 0);
}
