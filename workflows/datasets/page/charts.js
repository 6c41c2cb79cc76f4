// Charts by uPlot in the colours of the page, which follow light and dark; what a chart shows is also said in words.
"use strict";

const HEIGHT = 240;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const at = (unix) => new Date(1000 * unix).toISOString().slice(0, 16).replace("T", " ") + " UTC";

// Draws now, and again when the system turns light or dark. `draw` returns what takes a new width.
function follow(place, draw) {
  let drawn = draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    drawn.destroy();
    drawn = draw();
  });
  addEventListener("resize", () => drawn.setSize({ width: place.clientWidth, height: HEIGHT }));
}

// A chart of `data` (the values of x, then those of each series), with lines of { label, ink, stepped, dots }. Bands are
// pairs of values of x that are shaded. With `clock`, x is time in seconds since 1970.
function chart(place, { words, data, lines, x, clock = false, bands = [], share = false }) {
  const canvas = document.createElement("div");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
  place.append(canvas);
  const axis = () => ({ stroke: colour("--quiet"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } });
  const line = ({ label, ink, stepped, dots }) => ({ label, stroke: colour(ink), width: 2, spanGaps: true,
    ...(stepped ? { fill: colour(ink) + "55", paths: uPlot.paths.stepped({ align: 1 }) } : {}), points: { show: Boolean(dots), size: 6 } });
  const shade = (drawn) => {
    drawn.ctx.fillStyle = colour("--pause");
    for (const [begin, end] of bands) {
      const left = drawn.valToPos(begin, "x", true), width = Math.max(2, drawn.valToPos(end, "x", true) - left);
      drawn.ctx.fillRect(left, drawn.bbox.top, width, drawn.bbox.height);
    }
  };
  const times = (_, values) => values.map((unix) => at(unix).slice(5, 16));
  const shares = (_, values) => values.map((value) => Math.round(100 * value) + " %");
  const below = clock ? { ...axis(), values: times, space: 110 } : axis();
  follow(place, () => new uPlot({
    width: place.clientWidth, height: HEIGHT, hooks: { drawClear: [shade] }, scales: { x: { time: clock } },
    ...(clock ? { tzDate: (unix) => uPlot.tzDate(new Date(1000 * unix), "Etc/UTC") } : {}),
    series: [{ label: x }, ...lines.map(line)],
    axes: [{ ...below, stroke: colour("--quiet") }, { ...axis(), size: 60, ...(share ? { values: shares } : {}) }],
  }, data, canvas));
}
