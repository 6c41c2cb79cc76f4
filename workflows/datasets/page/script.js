// Fills the report's tables and charts from the facts in the page. Text from the dataset is only ever set as text.
"use strict";

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
  return (unit ? bytes.toFixed(1) : bytes) + " " + units[unit];
}

const failedAs = (row) => Object.entries(row.failed).sort((a, b) => b[1] - a[1])
  .map(([outcome, clips]) => outcome + " " + number(clips)).join(", ");

// How much of a published class is there: of val and test, whose classes are all of one size.
const ofPublished = (row) => {
  const { val, test } = facts.published.clips;
  return (row.splits.val + row.splits.test) / (val[0] + test[0]);
};
const publishedText = (row) => Object.entries(facts.published.clips).filter(([split]) => row.splits[split])
  .map(([split, [least, most]]) => `${split} ${number(row.splits[split])} of ${least === most ? number(least) : `${number(least)} to ${number(most)}`}`).join(", ") || "none";

const TABLES = {
  classes: {
    rows: facts.classes, sorted: 3, what: "classes",
    columns: [
      ["Class", (row) => row.label],
      ["Asked", (row) => row.asked, number],
      ["Stored", (row) => row.ok, number],
      ["Share", (row) => row.ok / row.asked, (value) => (100 * value).toFixed(1) + " %"],
      ["Failed as", (row) => failedAs(row)],
      ...(facts.published ? [[`Of ${facts.published.name} as published`, ofPublished, null, (row) => publishedText(row)]] : []),
    ],
  },
  failures: {
    rows: facts.failures, sorted: 2, what: "clips",
    columns: [
      ["Clip", (row) => row.clip_id], ["Class", (row) => row.label], ["Outcome", (row) => row.outcome],
      ["Split", (row) => row.split], ["Reason", (row) => row.detail || "no reason recorded"],
    ],
  },
  shards: {
    rows: facts.shard_list, sorted: 0, what: "shards",
    columns: [
      ["Shard", (row) => row.shard], ["Clips", (row) => row.clips, number], ["Stored", (row) => row.ok, number],
      ["Size", (row) => row.bytes, size], ["State", (row) => row.fault || "as committed"],
    ],
  },
};

function bars(place, values, missing) {
  const most = Math.max(1, ...values.map(([, clips]) => clips));
  for (const [name, clips] of values) {
    const bar = element("i", { "aria-hidden": "true" });
    bar.style.width = (100 * clips / most) + "%";
    place.append(element("div", { class: "bar" }, element("span", {}, name), bar, element("span", {}, number(clips))));
  }
  if (missing) place.append(element("p", { class: "quiet" }, `Not recorded for ${number(missing)} clips.`));
}

function lengths(values) {
  const widest = 12;
  if (values.length <= widest) return values.map(([seconds, clips]) => [`${seconds} s`, clips]);
  const last = values[values.length - 1][0], step = Math.ceil((last + 1) / widest);
  const found = new Map();
  for (const [seconds, clips] of values) {
    const first = Math.floor(seconds / step) * step;
    found.set(first, (found.get(first) || 0) + clips);
  }
  return [...found].map(([first, clips]) => [`${first} to ${first + step} s`, clips]);
}

function common({ most, others }) {
  const values = most.map(({ value, clips }) => [value, clips]);
  return others ? [...values, ["others", others]] : values;
}

function lasting(seconds) {
  const hours = seconds / 3600;
  return hours >= 48 ? `${(hours / 24).toFixed(1)} days` : hours >= 1 ? `${hours.toFixed(1)} hours` : `${Math.ceil(seconds / 60)} min`;
}

function timeline(place) {
  const { begins, ok, failed, step, events, not_recorded: missing } = facts.timeline;
  if (!begins.length) {
    place.append(element("p", { class: "quiet" }, "Not recorded in this dataset."));
    return;
  }
  const sum = (values) => values.reduce((a, b) => a + b, 0), last = begins[begins.length - 1] + step;
  const hourly = (values) => [...values, values[values.length - 1]].map((clips) => clips * 3600 / step);
  const busy = ok.filter((clips, place) => clips + failed[place]).length * step;
  const words = `From ${at(begins[0])} to ${at(last)}: ${number(sum(ok))} clips stored and ${number(sum(failed))} failed. ` +
    `Clips were finished in ${lasting(busy)} of these ${lasting(last - begins[0])}, ` +
    `${number(Math.round((sum(ok) + sum(failed)) * 3600 / busy))} an hour then.`;
  place.append(element("p", {}, words));
  const pauses = (events || []).filter(({ event }) => event === "paused");
  chart(place, { words, clock: true, x: "Time (UTC)", data: [[...begins, last], hourly(ok), hourly(failed)],
    lines: [{ label: "Stored an hour", ink: "--good", stepped: true }, { label: "Failed an hour", ink: "--bad", stepped: true }],
    bands: pauses.map((one) => [one.begins, one.ends]) });
  if (missing) place.append(element("p", { class: "quiet" }, `Not recorded for ${number(missing)} clips.`));
  told(place, events, pauses);
}

// The pauses, standstills and ends of builds.
function told(place, events, pauses) {
  if (!events) {
    place.append(element("p", { class: "quiet" }, "Pauses are not told: the log of the builds is not on this machine, or in another --cache."));
    return;
  }
  if (!events.length) return;
  const NAMES = { paused: "Paused", stalled: "No progress", ended: "A build ended" };
  const title = pauses.length ? `${number(pauses.length)} pauses (shaded), ` : "";
  const rows = events.map(({ event, begins, ends, what }) => element("tr", {}, element("th", { scope: "row" }, at(begins)),
    element("td", {}, NAMES[event] + (ends > begins ? `, ${lasting(ends - begins)}` : "")), element("td", { class: "text" }, what)));
  place.append(element("details", {}, element("summary", {}, `${title}${number(events.length)} events in the log of the builds`),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of pauses" },
      element("table", {}, element("thead", {}, element("tr", {}, ...["Time", "Event", "What"].map((head) => element("th", { scope: "col" }, head)))),
        element("tbody", {}, ...rows)))));
}

for (const place of document.querySelectorAll("[data-table]")) table(place, TABLES[place.dataset.table]);
bars(document.querySelector('[data-bars="durations"]'), lengths(facts.durations));
for (const name of ["source_rates", "source_sizes"]) {
  bars(document.querySelector(`[data-bars="${name}"]`), common(facts[name]), facts[name].not_recorded);
}
timeline(document.querySelector("[data-timeline]"));
