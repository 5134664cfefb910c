// A chart of lines over the last minutes, and the same numbers as a table.

import { el } from "./page.js";
import { EVERY_MS, KEPT_MS } from "./metrics.js";

const HEIGHT = 180;
const LEFT = 64;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 22;

/// Rows of the table: one for so many milliseconds.
const ROW_MS = 10_000;

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/// The least of 1, 2, 2.5 and 5 times a power of ten (of two, for bytes) that is not less.
function ceiling(value, base) {
  if (!(value > 0)) return 1;
  if (base === 2) return 2 ** Math.ceil(Math.log2(value));
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999999);
}

/// A chart. `series` are `[key of a point, name]`, `format` makes a value readable, `base` is 2 for bytes, and the axis goes
/// up to `least` at least.
export function chart(title, series, format, { base = 10, least = 0 } = {}) {
  const picture = svg("svg", { role: "img", height: HEIGHT });
  const now = series.map(() => el("b"));
  const legend = el("ul", { class: "legend" }, series.map(([, name], at) => el("li", { class: `line${at}` }, `${name} `, now[at])));
  const body = el("tbody");
  const head = el("tr", {}, el("th", { scope: "col" }, "Time"), series.map(([, name]) => el("th", { scope: "col" }, name)));
  const details = el("details", { ontoggle: () => details.open && fill() },
    el("summary", {}, "As a table"), el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `${title}, as a table` },
      el("table", {}, el("caption", { class: "unseen" }, `${title}, newest first`), el("thead", {}, head), body)));
  let points = [];

  const fill = () => {
    const rows = [];
    let until = Infinity;
    for (const point of points.toReversed()) {
      if (point.at > until) continue;
      until = point.at - ROW_MS + EVERY_MS / 2;
      rows.push(el("tr", {}, el("th", { scope: "row" }, new Date(point.at).toLocaleTimeString("sv-SE")), series.map(([key]) => el("td", {}, format(point[key])))));
    }
    body.replaceChildren(...rows);
  };

  const draw = (width) => {
    const values = points.flatMap((point) => series.map(([key]) => point[key])).filter(Number.isFinite);
    const top = ceiling(Math.max(least, ...values), base);
    const end = points.at(-1)?.at ?? Date.now();
    const x = (at) => width - RIGHT - ((end - at) / KEPT_MS) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(top * share), y2: y(top * share) }));
      if (share !== 0.25 && share !== 0.75) parts.push(svg("text", { x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end" }, format(top * share)));
    }
    for (const minutes of width < 420 ? [4, 2, 0] : [4, 3, 2, 1, 0]) {
      const place = { x: x(end - minutes * 60_000), y: HEIGHT - 6, "text-anchor": minutes === 0 ? "end" : "middle" };
      parts.push(svg("text", place, minutes === 0 ? "now" : `−${minutes} min`));
    }
    series.forEach(([key], at) => {
      let path = "";
      let before = -Infinity;
      for (const point of points) {
        const joins = point.at - before < EVERY_MS * 3;
        if (!Number.isFinite(point[key])) continue;
        // A point between two gaps has no line: a short one marks it.
        path += `${joins ? "L" : "M"}${x(point.at).toFixed(1)} ${y(point[key]).toFixed(1)}${joins ? "" : "h1"}`;
        before = point.at;
      }
      parts.push(svg("path", { class: `line${at}`, d: path }));
    });
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    picture.replaceChildren(...parts);
  };

  const figure = el("figure", {}, el("figcaption", {}, el("h2", {}, title), legend), picture, details);
  const update = (newest) => {
    points = newest;
    const last = points.at(-1) ?? {};
    series.forEach(([key], at) => (now[at].textContent = format(last[key] ?? NaN)));
    const said = series.map(([key, name]) => `${name} ${format(last[key] ?? NaN)}`).join(", ");
    picture.setAttribute("aria-label", `${title} over the last five minutes. Now: ${said}.`);
    draw(Math.max(240, figure.clientWidth - 24));
    if (details.open) fill();
  };
  return { figure, update };
}
