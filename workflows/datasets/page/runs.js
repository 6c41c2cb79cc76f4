// Curves of training runs, and which class a network takes for which. Text from a run is only ever set as text.
"use strict";

const percent = (value) => (100 * value).toFixed(1) + " %";

function curve(place) {
  const run = facts.runs[Number(place.dataset.run)], value = Number(place.dataset.value), shown = value === 1 ? (x) => x.toFixed(3) : percent;
  const parts = [["training", run.training, "--good"], ["validation", run.validation, "--bad"]]
    .map(([name, points, ink]) => [name, points.filter((point) => point[value] !== null), ink]).filter(([, points]) => points.length);
  if (!parts.length) {
    place.append(element("p", { class: "quiet" }, "Not recorded."));
    return;
  }
  const words = parts.map(([name, points]) => {
    const first = points[0], last = points[points.length - 1];
    return `${name}: ${shown(first[value])} at step ${number(first[0])}, ${shown(last[value])} at step ${number(last[0])}`;
  }).join("; ");
  const data = uPlot.join(parts.map(([, points]) => [points.map((point) => point[0]), points.map((point) => point[value])]));
  chart(place, { words, data, x: "Step", share: value === 2,
    lines: parts.map(([name, points, ink]) => ({ label: name, ink, dots: name === "validation" || points.length < 3 })) });
  place.append(element("p", { class: "quiet" }, words));
}

// Rows are the true classes, columns what they are taken for: the more of a class, the darker.
function matrix(canvas, classes, asked, cells) {
  const side = classes.length, pen = canvas.getContext("2d");
  canvas.width = canvas.height = side;
  pen.fillStyle = colour("--tile");
  pen.fillRect(0, 0, side, side);
  pen.fillStyle = colour("--link");
  for (const [label, said, clips] of cells) {
    pen.globalAlpha = 0.15 + 0.85 * clips / asked[label];
    pen.fillRect(said, label, 1, 1);
  }
  pen.globalAlpha = 1;
}

function confusion(place) {
  const [run, result, network] = place.dataset.confusion.split(",").map(Number);
  const { classes, scores } = facts.runs[run].results[result], { asked, cells, more_cells: more } = scores[network];
  const canvas = element("canvas", { class: "matrix", role: "img", "aria-label": "Confusion matrix; the table says the same" });
  const named = element("p", { class: "quiet" }, "Rows: the true class. Columns: what it is taken for. Point at a cell for its name.");
  const found = new Map(cells.map(([label, said, clips]) => [label * classes.length + said, clips]));
  canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect(), last = classes.length - 1;
    const said = Math.min(last, Math.floor((event.clientX - box.left) / box.width * classes.length));
    const label = Math.min(last, Math.floor((event.clientY - box.top) / box.height * classes.length));
    const clips = found.get(label * classes.length + said) || 0;
    named.textContent = `${classes[label]}, taken for ${said === label ? "itself" : classes[said]}: ${number(clips)} clips`;
  });
  const draw = () => matrix(canvas, classes, asked, cells);
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  place.append(canvas, named);
  if (more) place.append(element("p", { class: "quiet" }, `${number(more)} cells of the fewest clips are left out.`));
  if (cells.every(([label, said]) => label === said)) {
    place.append(element("p", {}, "No clip is taken for another class."));
    return;
  }
  table(place, {
    rows: cells.filter(([label, said]) => label !== said), sorted: 2, falling: true, what: "pairs of classes",
    of: `: ${facts.runs[run].name}, ${facts.runs[run].results[result].name}, ${scores[network].stream}`,
    columns: [["Class", ([label]) => classes[label]], ["Taken for", ([, said]) => classes[said]],
      ["Clips", ([, , clips]) => clips, number], ["Share of the class", ([label, , clips]) => clips / asked[label], percent]],
  });
}

for (const place of document.querySelectorAll("[data-run]")) curve(place);
for (const place of document.querySelectorAll("[data-confusion]")) {
  place.addEventListener("toggle", () => confusion(place), { once: true });
}
