// The viewer: what is wanted lies in the address behind `#`, so that the browser's own "back" works.

import { ask, element, find, number, share } from "./page.js";
import { Marks, draw, drawCells } from "./grid.js";
import { Player } from "./player.js";

const WANTED = ["search", "class", "split", "outcome", "scored", "wanted", "label", "predicted", "first"];
const LOOK_EVERY = 300; // milliseconds, while the dataset is read
const NEWS_EVERY = 15000; // milliseconds between two looks for new shards, while the page is seen
const marks = new Marks(), player = new Player();
let about = null, opened = null, order = 0, cellsOf = "", times = 0;

const wanted = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

function want(changes) {
  const next = { ...wanted(), ...changes };
  const kept = Object.entries(next).filter(([, value]) => value !== undefined && value !== "");
  location.hash = new URLSearchParams(kept).toString();
}

function options(select, first, values) {
  select.replaceChildren(...(first ? [element("option", { value: "" }, first)] : []),
    ...values.map(([value, text]) => element("option", { value }, text)));
}

function fill() {
  const form = find("filters"), { counts, classes, scored } = about;
  const classOf = (label, place) => [place, `${label} (${number(counts.ok[place + 1])} of ${number(counts.asked[place + 1])})`];
  const labels = classes.map(classOf);
  if (counts.asked[0]) labels.push([-1, `no label (${number(counts.asked[0])})`]);
  options(form.elements.class, "all", labels);
  for (const name of ["split", "outcome"]) {
    options(form.elements[name], "all", Object.entries(counts[name + "s"]).map(([value, clips]) => [value, `${value} (${number(clips)})`]));
  }
  options(form.elements.scored, "", scored.map(({ name }, place) => [place, name]));
  form.elements.scored.prepend(element("option", { value: "" }, "none"));
  for (const part of document.querySelectorAll("[data-run]")) part.hidden = !scored.length;
}

async function show() {
  const now = wanted(), mine = order += 1, form = find("filters");
  for (const name of ["search", "class", "split", "outcome", "scored"]) {
    if (document.activeElement !== form.elements[name]) form.elements[name].value = now[name] || "";
  }
  form.elements.wanted.value = now.wanted || "mistakes";
  form.elements.wanted.disabled = !now.scored;
  await cells(now);
  const query = Object.fromEntries(WANTED.map((name) => [name, now[name]]));
  if (now.scored && !now.wanted) query.wanted = "mistakes";
  try {
    const page = await ask("api/clips", query);
    if (mine !== order) return;
    draw(page, about.page, marks, (id) => want({ clip: id }));
    if (now.label) {
      const { classes } = about.scored[now.scored];
      find("shown").textContent += `: ${classes[now.label]}, taken for ${classes[now.predicted]}`;
    }
  } catch (error) {
    find("shown").textContent = error.message;
  }
  if ((now.clip || null) !== opened) await openClip(now.clip || null);
}

async function cells({ scored }) {
  if (cellsOf === (scored || "")) return;
  cellsOf = scored || "";
  find("cells").hidden = true;
  if (!scored) return;
  const found = await ask("api/cells", { scored });
  drawCells(found.cells, about.scored[scored].classes, (label, predicted) =>
    want({ label, predicted, first: "", search: "", class: "", split: "", outcome: "" }));
}

function pair(name, value) {
  const text = value !== null && typeof value === "object" ? Object.entries(value).map(([k, v]) => `${k} ${v}`).join(", ") : value;
  return element("div", {}, element("dt", {}, name.replaceAll("_", " ")), element("dd", {}, text === null || text === "" ? "not recorded" : String(text)));
}

async function openClip(id) {
  opened = id;
  const dialog = find("clip");
  player.close();
  if (!id) { dialog.close(); return; }
  find("problem").textContent = find("clip-about").textContent = "";
  find("clip-name").textContent = id;
  find("record").replaceChildren();
  find("said").replaceChildren();
  if (!dialog.open) dialog.showModal();
  try {
    const clip = await ask("api/clip", { id });
    if (opened !== id) return;
    tellClip(clip);
    if (clip.outcome === "ok") await player.open(clip, { fps: about.fps, chunkLength: about.chunk_length, streams: about.streams });
  } catch (error) {
    if (opened === id) find("problem").textContent = error.message;
  }
}

function tellClip(clip) {
  find("clip-name").textContent = clip.clip_id;
  const rate = clip.source_fps ? `its video: ${clip.source_fps} fps` : "the frame rate of its video is not recorded";
  const parts = [clip.label || "no label", clip.split, clip.outcome === "ok" ? `${about.fps} fps; ${rate}` : `${clip.outcome}: ${clip.detail || "no reason recorded"}`];
  find("clip-about").textContent = parts.join(" · ");
  const box = find("mark");
  box.dataset.mark = clip.clip_id;
  marks.shown(box);
  find("said").replaceChildren(...clip.predictions.map(({ name, predicted, sure }) =>
    element("p", { class: predicted === clip.label ? "" : "bad" }, `${name}: ${predicted}, ${share(sure)}`)));
  find("record").replaceChildren(...Object.entries({ ...clip.record, ...clip.shard }).map(([name, value]) => pair(name, value)));
}

function listen() {
  const form = find("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    const changes = { first: "", label: "", predicted: "", [event.target.name]: event.target.value };
    if (event.target.name === "scored" && !event.target.value) changes.wanted = "";
    want(changes);
  });
  const turn = (by) => { want({ first: Math.max(0, Number(wanted().first || 0) + by) || "" }); find("clips").focus({ preventScroll: true }); scrollTo(0, 0); };
  find("read-again").addEventListener("click", readAgain);
  find("before").addEventListener("click", () => turn(-about.page));
  find("after").addEventListener("click", () => turn(about.page));
  find("close").addEventListener("click", () => want({ clip: "" }));
  find("clip").addEventListener("cancel", (event) => { event.preventDefault(); want({ clip: "" }); });
  find("mark").addEventListener("change", () => marks.change(find("mark")));
  addEventListener("hashchange", show);
}

const reading = ({ read, markers }) => markers ?
  `Reading what became of the clips: ${number(read)} of ${number(markers)} shards.` : "Listing the shards.";

// Says that shards are new; shows them when they were read again.
async function look(again = false) {
  let news;
  try {
    news = again ? await ask("api/reading", {}, {}) : await ask("api/news");
  } catch (error) {
    news = { failure: error.message, times };
  }
  if (news.times !== times && !news.reading) {
    times = news.times;
    about = await ask("api/about");
    fill();
    marks.take(about.marks);
    await show();
  }
  const { changed, failure } = news, shards = changed === 1 ? "1 shard has" : `${number(changed || 0)} shards have`;
  find("news").hidden = !(news.reading || failure || changed);
  find("read-again").hidden = Boolean(news.reading);
  find("news-text").textContent = news.reading ? reading(news) : failure ||
    `${shards} changed since the clips were read.`;
  return news.reading;
}

// Looks for news as long as the page is open; more often while the clips are read.
async function watch() {
  for (;;) {
    const busy = document.hidden ? false : await look();
    await new Promise((done) => setTimeout(done, busy ? LOOK_EVERY : NEWS_EVERY));
  }
}

async function readAgain() {
  find("read-again").hidden = true;
  for (let busy = await look(true); busy; busy = await look()) {
    await new Promise((done) => setTimeout(done, LOOK_EVERY));
  }
  find("clips").focus({ preventScroll: true });
}

async function begin() {
  about = await ask("api/about");
  document.title = `${about.name}: dataset viewer`;
  find("name").textContent = about.name;
  find("place").textContent = about.place;
  while (!about.ready) {
    find("reading").textContent = reading(about);
    await new Promise((done) => setTimeout(done, LOOK_EVERY));
    about = await ask("api/about");
  }
  find("reading").hidden = true;
  find("ready").hidden = false;
  fill();
  marks.take(about.marks);
  if (!location.hash && about.scored.length) history.replaceState(null, "", "#scored=0"); // --run: mistakes come first
  listen();
  await show();
  times = (await ask("api/news")).times;
  watch();
}

begin().catch((error) => { find("reading").textContent = error.message; });
