// Curves over up to five minutes, on a canvas of their own.

const MOST_SECONDS = 300;
const LEAST_SECONDS = 30;
const TICKS = 3;

const style = getComputedStyle(document.documentElement);
const color = (name) => style.getPropertyValue(name).trim();

/**
 * Draws one or more curves.
 * @param {HTMLCanvasElement} canvas
 * @param {Array<object>} points with `at` in Unix seconds; a missing or null value is a gap
 * @param {Array<{key: string, color: string}>} curves `color` is the name of a CSS variable
 * @param {{most?: number, now: number}} options `most` is the top of the scale, else the values choose it
 */
export function draw(canvas, points, curves, options) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const known = points.length ? options.now - points[0].at : 0;
  const span = Math.min(MOST_SECONDS, Math.max(LEAST_SECONDS, known));
  const from = options.now - span;
  const shown = points.filter((point) => point.at >= from);
  const [least, most] = range(shown, curves, options);
  const area = { left: 40, right: width - 6, top: 8, bottom: height - 18 };
  const x = (at) => area.left + ((at - from) / span) * (area.right - area.left);
  const y = (value) => area.bottom - ((value - least) / (most - least)) * (area.bottom - area.top);
  grid(pen, area, least, most, y, span);
  for (const curve of curves) line(pen, shown, curve, x, y, area.bottom, curves.length === 1);
}

function range(points, curves, options) {
  const values = points.flatMap((point) => curves.map((curve) => point[curve.key])).filter((value) => value != null);
  if (options.most === undefined) return [0, TICKS * roundUp((Math.max(...values, 0.3) * 1.05) / TICKS)];
  const least = values.length ? Math.floor(Math.min(...values) / 10) * 10 - 10 : 0;
  return [Math.max(0, least), options.most];
}

/** The next number of the form 1, 2, 2.5 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= value);
}

function grid(pen, area, least, most, y, span) {
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  for (let tick = 0; tick <= TICKS; tick++) {
    const value = least + ((most - least) * tick) / TICKS;
    pen.strokeStyle = color("--line");
    pen.beginPath();
    pen.moveTo(area.left, y(value));
    pen.lineTo(area.right, y(value));
    pen.stroke();
    pen.fillStyle = color("--soft");
    pen.textAlign = "right";
    pen.fillText(value.toFixed(most - least < 6 ? 1 : 0), area.left - 6, y(value));
  }
  pen.textBaseline = "alphabetic";
  pen.textAlign = "left";
  pen.fillText(span < 90 ? `${Math.round(span)} s ago` : `${Math.round(span / 60)} min ago`, area.left, area.bottom + 14);
  pen.textAlign = "right";
  pen.fillText("now", area.right, area.bottom + 14);
}

function line(pen, points, curve, x, y, bottom, filled) {
  for (const run of runs(points, curve.key)) {
    pen.beginPath();
    for (const [index, point] of run.entries()) {
      if (index) pen.lineTo(x(point.at), y(point[curve.key]));
      else pen.moveTo(x(point.at), y(point[curve.key]));
    }
    pen.strokeStyle = color(curve.color);
    pen.lineWidth = 1.6;
    pen.lineJoin = "round";
    pen.stroke();
    if (!filled) continue;
    pen.lineTo(x(run[run.length - 1].at), bottom);
    pen.lineTo(x(run[0].at), bottom);
    pen.globalAlpha = 0.12;
    pen.fillStyle = color(curve.color);
    pen.fill();
    pen.globalAlpha = 1;
  }
}

/** Splits points where a value or more than three seconds are missing. */
function* runs(points, key) {
  let run = [];
  for (const point of points) {
    const gap = run.length && point.at - run[run.length - 1].at > 3;
    if ((point[key] == null || gap) && run.length) {
      yield run;
      run = [];
    }
    if (point[key] != null) run.push(point);
  }
  if (run.length) yield run;
}
