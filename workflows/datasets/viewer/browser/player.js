// Plays a clip: RGB and flow in step, from the shard's own JPEGs, decoded by the browser when they are shown.

import { askBytes, find } from "./page.js";
import { draw, drawWheel, fastest, stored, table } from "./flow.js";

const KEPT = 64; // chunks that are kept in memory: 40 s of a clip at 25 frames a second
const SAMPLED = 4; // flow pictures of the first chunk from which the scale of the colours is taken

const jpeg = (bytes) => createImageBitmap(new Blob([bytes], { type: "image/jpeg" }), { colorSpaceConversion: "none" });
const same = (a, b) => a.length === b.length && a.every((value, place) => value === b[place]);

function parse(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const document = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  const cut = (sizes = []) => sizes.map((size) => { const bytes = new Uint8Array(buffer, at, size); at += size; return bytes; });
  return { rgb: cut(document.rgb), flow: cut(document.flow) };
}

export class Player {
  constructor() {
    this.clip = null;
    this.playing = false;
    find("play").addEventListener("click", () => this.toggle());
    find("back").addEventListener("click", () => this.step(-1));
    find("on").addEventListener("click", () => this.step(1));
    find("at").addEventListener("input", () => { this.stop(); this.show(Number(find("at").value)); });
    find("speed").addEventListener("change", () => this.restart());
    find("full").addEventListener("change", () => { this.scale(); this.show(this.frame); });
    drawWheel(find("wheel"));
  }

  // Opens a clip of { clip_id, frames, time_start, source_fps } and begins to play, unless the user wants no motion.
  async open(clip, { fps, chunkLength, streams }) {
    this.close();
    Object.assign(this, { clip, fps, chunkLength, chunks: new Map(), frame: 0, measured: 1, repeats: new Set(), seen: new Set() });
    this.hasFlow = streams.includes("flow");
    for (const id of ["flow-figure", "legend", "full-label"]) find(id).hidden = !this.hasFlow;
    find("at").max = clip.frames - 1;
    find("player").hidden = false;
    await this.measure();
    if (this.clip !== clip) return;
    await this.show(0);
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) this.toggle();
    this.ahead(clip);
  }

  close() {
    this.stop();
    this.clip = null;
    find("player").hidden = true;
  }

  // A chunk of the clip; asked for once.
  chunk(number) {
    if (!this.chunks.has(number)) {
      if (this.chunks.size >= KEPT) this.chunks.delete(this.chunks.keys().next().value);
      const asked = askBytes("api/frames", { id: this.clip.clip_id, chunk: number }).then(parse);
      asked.then((chunk) => this.compare(number, chunk), () => this.chunks.delete(number));
      this.chunks.set(number, asked);
    }
    return this.chunks.get(number);
  }

  // Reads the whole of a clip that fits, so that all repeated frames are known.
  async ahead(clip) {
    const chunks = Math.ceil(clip.frames / this.chunkLength);
    for (let number = 0; number < Math.min(chunks, KEPT) && this.clip === clip; number += 1) {
      try { await this.chunk(number); } catch { return; }
    }
  }

  // Marks the frames of a chunk whose bytes are those of the frame before.
  async compare(number, { rgb }) {
    const clip = this.clip, before = number ? await this.chunks.get(number - 1)?.catch(() => null) : null;
    if (this.clip !== clip) return;
    rgb.forEach((bytes, place) => {
      const previous = place ? rgb[place - 1] : before?.rgb.at(-1);
      if (previous && same(bytes, previous)) this.repeats.add(number * this.chunkLength + place);
      if (previous || !number) this.seen.add(number * this.chunkLength + place);
    });
    const bar = find("repeats"), context = bar.getContext("2d");
    bar.width = Math.max(clip.frames, 1);
    context.fillStyle = getComputedStyle(bar).getPropertyValue("--mark");
    for (const frame of this.repeats) context.fillRect(frame, 0, 1, bar.height);
    const some = this.repeats.size, all = this.seen.size === clip.frames ? "" : ` of the first ${this.seen.size}`;
    find("repeated").textContent = some ? `${some}${all} frames repeat the one before (marked below the line): ` +
      "flow between them is zero." : "";
  }

  async measure() {
    find("repeated").textContent = "";
    if (!this.hasFlow) return;
    const { flow } = await this.chunk(0);
    const some = flow.filter((_, place) => place % Math.ceil(flow.length / SAMPLED) === 0);
    this.measured = fastest((await Promise.all(some.map(jpeg))).map(stored));
    this.scale();
  }

  scale() {
    const largest = Number(find("full").value) || this.measured;
    this.colours = table(largest);
    find("scale").textContent = `Colour is the direction of motion; white is none; full colour is ${largest} px from ` +
      "one frame to the next.";
  }

  async show(frame) {
    const clip = this.clip;
    this.frame = frame;
    const place = frame % this.chunkLength, chunk = await this.chunk(Math.floor(frame / this.chunkLength));
    const [rgb, flow] = await Promise.all([jpeg(chunk.rgb[place]), this.hasFlow ? jpeg(chunk.flow[place]) : null]);
    if (this.clip !== clip || this.frame !== frame) return;
    const canvas = find("rgb");
    canvas.width = rgb.width;
    canvas.height = rgb.height;
    canvas.getContext("2d").drawImage(rgb, 0, 0);
    if (flow) draw(find("flow"), stored(flow), this.colours);
    this.tell(frame);
  }

  tell(frame) {
    const { clip, fps } = this, seconds = frame / fps;
    const parts = [`Frame ${frame + 1} of ${clip.frames}`, `${seconds.toFixed(2)} s`];
    if (clip.time_start !== null) parts.push(`${(clip.time_start + seconds).toFixed(2)} s of the video`);
    if (this.repeats.has(frame)) parts.push("repeats the frame before");
    find("now").textContent = parts.join(" · ");
    find("at").value = frame;
    find("at").setAttribute("aria-valuetext", parts.join(", "));
  }

  step(by) {
    this.stop();
    this.show((this.frame + by + this.clip.frames) % this.clip.frames);
  }

  toggle() {
    if (this.playing) { this.stop(); return; }
    this.playing = true;
    find("play").textContent = "Pause";
    this.run(this.clip);
  }

  stop() {
    this.playing = false;
    this.begun = undefined;
    find("play").textContent = "Play";
  }

  restart() { this.begun = undefined; }

  // Shows the frame that the clock asks for; a frame that comes late moves the clock, so that none is passed over then.
  async run(clip) {
    this.begun = undefined;
    while (this.playing && this.clip === clip) {
      const now = await new Promise(requestAnimationFrame), speed = Number(find("speed").value) * this.fps / 1000;
      this.begun ??= now - this.frame / speed;
      const wanted = Math.floor((now - this.begun) * speed) % clip.frames;
      if (wanted === this.frame) continue;
      const asked = performance.now();
      try { await this.show(wanted); } catch { this.stop(); return; }
      if (performance.now() - asked > 200) this.begun = undefined;
    }
  }
}
