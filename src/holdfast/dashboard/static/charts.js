// Small charts over time: stacked bars and lines, with a cursor that mouse, finger and arrow keys move.

import { fill, h, s, setText } from "./elements.js";

const HEIGHT = 150;
const LEFT = 46;
const BOTTOM = 18;
const TOP = 8;

/**
 * Make a chart: `{ element, update(points) }`.
 *
 * `series` are `{ name, kind, value(point) }`, all bars or all lines; `value` gives `null` where there is
 * nothing. `write` says a value in words, `label(point)` the time of one, `tick(point)` that below the axis.
 */
export function chart({ title, isBars, series, write, label, tick, least = 1 }) {
  const readout = h("span.readout");
  const picture = s("svg", { tabindex: "0", role: "img" });
  const element = h(
    "section.panel",
    h(".panel-head", h("h2", title), readout),
    h(".chart", picture),
  );
  let points = [];
  let at = null;

  function draw() {
    const width = picture.clientWidth || 560;
    const values = (point) => series.map((each) => each.value(point));
    const heights = points.map((point) => (isBars ? sum(values(point)) : Math.max(0, ...values(point).map(Number))));
    const most = nice(Math.max(least, ...heights));
    const plot = { width: width - LEFT, height: HEIGHT - BOTTOM - TOP };
    const x = (index) => LEFT + (plot.width * (index + 0.5)) / points.length;
    const y = (value) => TOP + plot.height * (1 - value / most);
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    picture.replaceChildren(
      ...[0, 0.5, 1].flatMap((share) => [
        s("line.grid", { x1: LEFT, x2: width, y1: y(share * most), y2: y(share * most) }),
        s("text", { x: LEFT - 7, y: y(share * most) + 4, "text-anchor": "end" }, write(share * most)),
      ]),
      ...ticks(points.length, plot.width).map((index) =>
        s("text", { x: x(index), y: HEIGHT - 3, "text-anchor": "middle" }, tick(points[index])),
      ),
      ...(isBars ? bars(points, series, x, y, plot.width) : lines(points, series, x, y)),
      ...cursor(x, y),
    );
    tell();
  }

  function cursor(x, y) {
    if (at === null || !points[at]) return [];
    const line = s("line.cursor", { x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM });
    const dots = series
      .filter((each) => !isBars && each.value(points[at]) !== null)
      .map((each) => s(`circle.dot.${each.kind}`, { cx: x(at), cy: y(each.value(points[at])), r: 3 }));
    return [line, ...dots];
  }

  function said(point) {
    return series
      .map((each) => [each.name, each.value(point)])
      .filter(([, value]) => value !== null)
      .map(([name, value]) => `${write(value)} ${name}`)
      .join(", ");
  }

  function tell() {
    const last = points.findLast((point) => series.some((each) => each.value(point)));
    picture.setAttribute(
      "aria-label",
      `${title}. ${last ? `At ${label(last)}: ${said(last)}.` : "Nothing yet."} Arrow keys go through the times.`,
    );
    if (at !== null && points[at]) return setText(readout, `${label(points[at])}: ${said(points[at]) || "nothing"}`);
    fill(readout, ...series.map((each) => h(`span.key.${each.kind}`, each.name)));
  }

  function move(to) {
    at = to === null ? null : Math.max(0, Math.min(points.length - 1, to));
    draw();
  }
  picture.addEventListener("pointermove", (event) => {
    const { left, width } = picture.getBoundingClientRect();
    move(Math.floor(((event.clientX - left - LEFT) / (width - LEFT)) * points.length));
  });
  picture.addEventListener("pointerleave", () => move(null));
  picture.addEventListener("blur", () => move(null));
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    move((at ?? (step < 0 ? points.length : -1)) + step);
  });
  new ResizeObserver(draw).observe(picture);
  return {
    element,
    update(next) {
      points = next;
      draw();
    },
  };
}

function bars(points, series, x, y, width) {
  const wide = Math.max(1, (width / points.length) * 0.78);
  return points.flatMap((point, index) => {
    let below = 0;
    return series.flatMap((each) => {
      const value = each.value(point);
      if (!value) return [];
      const top = y(below + value);
      const bar = s(`rect.${each.shape}`, { x: x(index) - wide / 2, y: top, width: wide, height: Math.max(0.7, y(below) - top) });
      below += value;
      return [bar];
    });
  });
}

function lines(points, series, x, y) {
  return series.flatMap((each) => {
    // A gap where there is nothing; a value between two gaps is a dot.
    const pieces = [[]];
    points.forEach((point, index) => {
      const value = each.value(point);
      if (value === null) pieces.push([]);
      else pieces.at(-1).push([x(index), y(value)]);
    });
    return pieces
      .filter((piece) => piece.length)
      .map((piece) =>
        piece.length === 1
          ? s(`circle.dot.${each.kind}`, { cx: piece[0][0], cy: piece[0][1], r: 1.8 })
          : s(`path.line.${each.kind}`, { d: `M${piece.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join("L")}` }),
      );
  });
}

function ticks(points, width) {
  const wanted = Math.max(2, Math.min(6, Math.floor(width / 90)));
  const step = Math.ceil(points / wanted);
  return Array.from({ length: Math.ceil(points / step) }, (_, number) => Math.floor(step / 2) + number * step).filter(
    (index) => index < points,
  );
}

const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);

/** The smallest round number that is not below. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}
