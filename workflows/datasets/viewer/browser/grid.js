// The grid of clips, and which of them are marked.

import { ask, element, find, number, share } from "./page.js";

export class Marks {
  constructor() { this.ids = new Set(); }

  take({ ids, file, commands }) {
    this.ids = new Set(ids);
    find("file").textContent = file;
    find("commands").textContent = commands.join("\n");
    find("marked").textContent = ids.length ? `${number(ids.length)} ${ids.length === 1 ? "clip is" : "clips are"} marked` :
      "No clip is marked";
    for (const box of document.querySelectorAll("[data-mark]")) this.shown(box);
  }

  shown(box) {
    box.checked = this.ids.has(box.dataset.mark);
    box.closest("li")?.classList.toggle("marked", box.checked);
  }

  async change(box) {
    const id = [box.dataset.mark];
    try {
      this.take(await ask("api/marks", {}, box.checked ? { add: id, remove: [] } : { add: [], remove: id }));
    } catch (error) {
      box.checked = !box.checked;
      find("shown").textContent = error.message;
    }
  }
}

function card(clip, marks, open) {
  const shown = clip.outcome === "ok" ?
    element("img", { src: "api/picture?" + new URLSearchParams({ id: clip.clip_id }), alt: "", loading: "lazy" }) :
    element("span", { class: "none" }, clip.outcome);
  const parts = [shown, element("span", { class: "label" }, clip.label || "no label"),
    element("span", { class: "id" }, `${clip.clip_id} · ${clip.split}`)];
  if (clip.predicted) {
    const wrong = clip.predicted !== clip.label;
    const said = `${wrong ? "taken for " : ""}${clip.predicted}, ${share(clip.sure)}`;
    parts.push(element("span", { class: wrong ? "more bad" : "more" }, said));
  }
  if (clip.detail && clip.outcome !== "ok") parts.push(element("span", { class: "more" }, clip.detail.slice(0, 120)));
  const button = element("button", { type: "button", class: "card" }, ...parts);
  button.addEventListener("click", () => open(clip.clip_id));
  const box = element("input", { type: "checkbox", "data-mark": clip.clip_id, "aria-label": `Mark ${clip.clip_id}` });
  box.addEventListener("change", () => marks.change(box));
  const made = element("li", {}, button, element("label", { class: "mark" }, box, "Mark"));
  marks.shown(box);
  return made;
}

export function draw({ total, first, clips }, page, marks, open) {
  find("clips").replaceChildren(...clips.map((clip) => card(clip, marks, open)));
  find("shown").textContent = clips.length ?
    `${number(first + 1)} to ${number(first + clips.length)} of ${number(total)} clips` : "No clip is like this.";
  find("before").disabled = first === 0;
  find("after").disabled = first + page >= total;
}

export function drawCells(cells, classes, show) {
  find("cells").hidden = !cells.length;
  find("cells").querySelector("tbody").replaceChildren(...cells.map(([label, predicted, clips]) => {
    const button = element("button", { type: "button" }, "Show");
    button.setAttribute("aria-label", `Show ${classes[label]} taken for ${classes[predicted]}`);
    button.addEventListener("click", () => show(label, predicted));
    return element("tr", {}, element("td", {}, classes[label]), element("td", {}, classes[predicted]),
      element("td", { class: "n" }, number(clips)), element("td", {}, button));
  }));
}
