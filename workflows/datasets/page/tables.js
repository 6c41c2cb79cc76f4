// The facts in the page, and tables of them to sort and search. Text from elsewhere is only ever set as text.
"use strict";

const facts = JSON.parse(document.getElementById("facts").textContent);
const AT_ONCE = 100; // rows of a table that are shown at first, and added by each press of "more"
const number = new Intl.NumberFormat("en").format;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Columns: title, the value that it is sorted by, how a number is shown; else how the row is shown, where that is not
// the value.
function table(place, { rows, columns, sorted, what, falling = false, of = "" }) {
  let order = sorted, rising = !falling, shown = AT_ONCE, wanted = "";
  const body = element("tbody");
  const told = element("span", { role: "status", class: "quiet" });
  const more = element("button", { type: "button", class: "more" }, "Show more");
  const search = element("input", { type: "search", autocomplete: "off" });
  const heads = columns.map(([title, , format], column) => {
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      rising = order === column ? !rising : true;
      order = column;
      draw();
    });
    return element("th", { scope: "col", class: format ? "n" : undefined }, button);
  });
  function draw() {
    const sortedBy = columns[order][1];
    const found = rows.filter((row) => !wanted ||
      columns.some(([, value, format]) => !format && String(value(row)).toLowerCase().includes(wanted)));
    found.sort((a, b) => {
      const one = sortedBy(a), other = sortedBy(b);
      const less = typeof one === "number" ? one - other : one.localeCompare(other);
      return rising ? less : -less;
    });
    heads.forEach((head, column) =>
      head.setAttribute("aria-sort", column !== order ? "none" : rising ? "ascending" : "descending"));
    body.replaceChildren(...found.slice(0, shown).map((row) => element("tr", {}, ...columns.map(
      ([title, value, format, text], column) => element(column ? "td" : "th", {
        scope: column ? undefined : "row",
        class: format ? "n" : title === "State" && row.fault ? "bad" : title === "Reason" ? "text" : undefined,
      }, text ? text(row) : format ? format(value(row)) : value(row))))));
    told.textContent = `${number(Math.min(shown, found.length))} of ${number(found.length)} ${what}`;
    more.hidden = found.length <= shown;
  }
  search.addEventListener("input", () => { wanted = search.value.trim().toLowerCase(); shown = AT_ONCE; draw(); });
  more.addEventListener("click", () => { shown += AT_ONCE; draw(); });
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table of ${what}${of}` },
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));
  place.append(element("div", { class: "tools" }, element("label", {}, "Search", search), told), scroll, more);
  draw();
}
