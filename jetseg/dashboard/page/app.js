// The page asks for everything and draws it; the server pushes nothing, so a slow page costs it nothing.

import { draw } from "./charts.js";

const STATE_MS = 500;
const RETRY_MS = 1000;
const TIMEOUT_MS = 5000;
const OLD_SECONDS = 1.5;
const KEPT_SECONDS = 310;

const byId = (id) => document.getElementById(id);
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

let run = null;
let points = [];
let lostAt = null;
let shownSequence = -1;
let quality = "miou";
let camera = null; // of several the one that is shown; null is the first

followCameras();
followState();
followPicture();
window.addEventListener("resize", () => points.length && drawCurves());

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT_MS), cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

/** The address of what belongs to the camera that is shown. */
function of(path) {
  return camera === null ? path : `${path}${path.includes("?") ? "&" : "?"}camera=${encodeURIComponent(camera)}`;
}

/** Several cameras are buttons with their figures; one alone has none. */
async function followCameras() {
  for (;;) {
    try {
      const cameras = Object.entries(await (await ask("cameras")).json());
      byId("cameras").hidden = cameras.length < 2;
      if (cameras.length < 2) return;
      camera ??= cameras[0][0];
      fill(byId("cameras"), cameras, ([name, brief]) => {
        const item = element("li"), button = element("button", name);
        const silent = !brief || brief.since_last_frame_s === null || brief.since_last_frame_s > OLD_SECONDS;
        button.className = silent ? "alarm" : "";
        button.setAttribute("aria-pressed", name === camera);
        button.append(element("span", silent ? "no frames" : `${number(brief.fps, 0)} fps · ${number(brief.age_p50, 0)} ms`));
        button.onclick = () => { camera = name; shownSequence = -1; };
        item.append(button);
        return item;
      });
    } catch {
      // followState tells the person
    }
    await sleep(RETRY_MS);
  }
}

async function followState() {
  for (;;) {
    try {
      const state = await (await ask(of("state"))).json();
      if (state.run !== run) {
        const past = await (await ask(of("past"))).json();
        points = past.points;
        run = state.run;
        shownSequence = -1;
      }
      show(state);
      found();
      await sleep(STATE_MS);
    } catch (error) {
      lost(error);
      await sleep(RETRY_MS);
    }
  }
}

async function followPicture() {
  const canvas = byId("picture"), pen = canvas.getContext("2d");
  for (;;) {
    if (document.hidden) {
      await sleep(STATE_MS);
      continue;
    }
    try {
      const answer = await ask(of(`picture?other_than=${shownSequence}`));
      if (answer.status === 204) continue;
      const image = await createImageBitmap(await answer.blob());
      if (canvas.width !== image.width || canvas.height !== image.height) {
        canvas.width = image.width;
        canvas.height = image.height;
      }
      pen.drawImage(image, 0, 0);
      image.close();
      shownSequence = Number(answer.headers.get("X-Sequence"));
      canvas.dataset.sequence = shownSequence;
    } catch {
      await sleep(RETRY_MS); // followState tells the person
    }
  }
}

function lost(error) {
  lostAt ??= Date.now();
  console.info(String(error));
  const seconds = Math.round((Date.now() - lostAt) / 1000);
  byId("banner-text").textContent = `What you see is ${seconds} s old. Trying again.`;
  byId("banner").hidden = false;
  byId("view").classList.add("old");
  health("alarm", "not connected");
}

function found() {
  lostAt = null;
  byId("banner").hidden = true;
}

function show(state) {
  const last = points[points.length - 1];
  if (!last || state.point.at > last.at) points.push(state.point);
  while (points.length && points[0].at < state.point.at - KEPT_SECONDS) points.shift();
  document.title = `${number(state.point.fps, 0)} fps · ${state.title.engine}`;
  byId("title").textContent = `${state.title.engine} on ${state.title.source}`;
  showFreshness(state);
  showNumbers(state);
  showShares(state);
  showStages(state);
  showFacts(state.summary);
  showHost(state.host);
  showDrift(state.drift, state.shadow);
  showEstimate(state.estimate);
  showEvents(state.events);
  drawCurves();
}

function showFreshness(state) {
  const silent = state.since_last_frame_s;
  const old = silent === null || silent > OLD_SECONDS;
  byId("view").classList.toggle("old", old);
  byId("stale").hidden = !old;
  byId("stale").textContent = silent === null ? "No frame yet" : `No new frame for ${number(silent, 0)} s`;
  if (old) return health("alarm", silent === null ? "waiting for the first frame" : "no frames");
  if (state.host && state.host.throttled.length) return health("warning", "the device slows itself down");
  const recent = state.events.filter((event) => event.severity !== "info" && state.now - event.at < 30);
  const worst = recent.filter((event) => event.severity === "alarm").pop() || recent.pop();
  return worst ? health(worst.severity, words(worst.kind)) : health("good", `running for ${duration(state.summary.seconds)}`);
}

function health(level, text) {
  byId("health").className = level;
  byId("health").lastElementChild.textContent = text;
}

function showNumbers(state) {
  const point = state.point, bare = state.summary.engine_frames_per_second, deadline = state.summary.deadline_ms;
  byId("fps").textContent = number(point.fps, 1);
  byId("fps-note").textContent = bare ? `engine alone ${number(bare, 1)}` : "";
  withUnit(byId("age"), number(point.age_p50, point.age_p50 < 10 ? 1 : 0), "ms");
  byId("age").className = deadline && point.age_p50 > deadline ? "alarm" : "";
  byId("age-note").textContent = point.age_p99 == null ? "" : `p99 ${number(point.age_p99, 0)} ms, since ${state.summary.frame_age_since}`;
  withUnit(byId("dropped"), point.captured ? number((100 * point.dropped) / point.captured, 1) : "–", "%");
  byId("dropped-note").textContent = `${point.dropped.toLocaleString("en")} of ${point.captured.toLocaleString("en")}`;
  showQuality(point);
}

/** Labels tell most, then the estimate, then the reference. */
function showQuality(point) {
  quality = ["miou", "estimate", "agreement"].find((key) => point[key] != null) || "miou";
  const names = { miou: "mIoU", estimate: "estimated mIoU", agreement: "agreement" };
  const captions = { ...names, estimate: "Estimated mIoU, and its interval", agreement: "Agreement with the reference" };
  const span = `${number(point.estimate_low, 0)} to ${number(point.estimate_high, 0)}, without labels`;
  const notes = { miou: "over the whole run", estimate: span, agreement: "over the whole run" };
  byId("quality-name").textContent = names[quality];
  byId("quality-caption").textContent = captions[quality];
  withUnit(byId("quality"), number(point[quality], 1), "%");
  byId("quality-note").textContent = point[quality] == null ? "no labels, no reference" : notes[quality];
  byId("quality-panel").hidden = point[quality] == null;
}

function showShares(state) {
  const shares = state.class_shares;
  const rows = [...state.classes, { name: "void", color: [0, 0, 0] }].filter((row) => shares[row.name] >= 0.005);
  rows.sort((one, other) => shares[other.name] - shares[one.name]);
  fill(byId("shares"), rows, (row) => {
    const item = element("li"), dot = element("i");
    dot.style.background = `rgb(${row.color.join(" ")})`;
    item.append(dot, row.name, element("span", `${number(100 * shares[row.name], 0)} %`));
    return item;
  });
}

function showStages(state) {
  const stages = Object.entries(state.stage_ms);
  const most = Math.max(...stages.map(([, value]) => value), 1e-3);
  bars(byId("stages"), stages.map(([name, value]) => ({ name, share: value / most, text: `${number(value, 1)} ms` })));
}

function showHost(host) {
  byId("host-panel").hidden = !host;
  if (!host) return;
  const rows = [
    { name: "CPU", share: host.cpu_percent / 100, text: `${number(host.cpu_percent, 0)} %` },
    { name: "memory", share: host.memory_percent / 100, text: `${number(host.memory_percent, 0)} %` },
    { name: "this process", text: `${number(host.process_mb, 0)} MB` },
  ];
  if (host.temperature_c != null) {
    const level = host.temperature_c > 95 ? "alarm" : host.temperature_c > 80 ? "warning" : "";
    rows.push({ name: "hottest", share: host.temperature_c / 110, text: `${number(host.temperature_c, 0)} °C`, level });
  }
  if (host.power_w != null) rows.push({ name: "power", text: `${number(host.power_w, 1)} W` });
  for (const [unit, value] of Object.entries(host.clocks_mhz)) {
    rows.push({ name: `${unit.toUpperCase()} clock`, text: `${number(value, 0)} MHz` });
  }
  if (host.power_mode) rows.push({ name: "power mode", text: host.power_mode });
  if (host.throttled.length) rows.push({ name: "throttled", text: host.throttled.join(", "), share: 1, level: "alarm" });
  bars(byId("host"), rows);
}

/** What a person asks next when the stages look wrong: what came late, and what was lost where. */
function showFacts(summary) {
  const facts = [];
  if (summary.deadline_ms != null) {
    facts.push([`later than ${number(summary.deadline_ms, 0)} ms`, count(summary.deadline_misses, summary.frames)]);
  }
  facts.push(["oldest frame", summary.worst_frame_age_ms == null ? "–" : `${number(summary.worst_frame_age_ms, 0)} ms`]);
  for (const [cause, lost] of Object.entries(summary.dropped_by_cause)) {
    if (lost) facts.push([`dropped at ${cause}`, count(lost, summary.captured)]);
  }
  if (summary.corrupt) facts.push(["corrupt", count(summary.corrupt, summary.captured)]);
  for (const [engine, frames] of Object.entries(summary.frames_by_engine)) {
    facts.push([`by ${engine.split("/").pop()}`, count(frames, summary.frames)]);
  }
  byId("facts").replaceChildren(...facts.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

/** A bar is full where the bound is; empty is what was normal at calibration. */
function showDrift(signals, shadow) {
  const rows = Object.entries(signals).map(([event, signal]) => {
    const known = signal.value != null && signal.normal != null;
    const share = known ? (signal.value - signal.normal) / (signal.bound - signal.normal) : Number(signal.active);
    return {
      name: words(event), share, level: signal.active ? "alarm" : share > 1 ? "warning" : "",
      text: `${short(signal.value)} / ${short(signal.bound)}`,
    };
  });
  if (shadow && shadow.bound != null) {
    const agreement = shadow.recent_miou;
    rows.push({
      name: "shadow disagrees", share: agreement == null ? 0 : (100 - agreement) / (100 - shadow.bound),
      level: shadow.active ? "alarm" : "", text: `${short(agreement)} / ${short(shadow.bound)} %`,
    });
  }
  byId("drift-panel").hidden = !rows.length;
  bars(byId("drift"), rows);
}

/** A bar is as long as the IoU; the text has the interval as well. */
function showEstimate(estimate) {
  const classes = Object.entries((estimate && estimate.per_class_iou) || {}).filter(([, found]) => found);
  byId("estimate-panel").hidden = !classes.length;
  bars(byId("estimate"), classes.map(([name, found]) => ({
    name, share: found.value / 100, text: `${number(found.value, 0)} (${number(found.low, 0)}–${number(found.high, 0)}) %`,
  })));
}

function showEvents(events) {
  byId("no-events").hidden = events.length > 0;
  fill(byId("events"), [...events].reverse(), (event) => {
    const item = element("li");
    item.className = event.severity;
    item.append(element("time", clock(event.at)), element("b", event.severity), element("span", event.text));
    return item;
  });
}

function drawCurves() {
  const now = points[points.length - 1].at;
  draw(byId("fps-curve"), points, [{ key: "fps", color: "--accent" }], { now });
  const ages = [{ key: "age_p50", color: "--accent" }, { key: "age_p99", color: "--second" }];
  draw(byId("age-curve"), points, ages, { now });
  const ends = quality === "estimate" ? [{ key: "estimate_low", color: "--second" }, { key: "estimate_high", color: "--second" }] : [];
  draw(byId("quality-curve"), points, [...ends, { key: quality, color: "--good" }], { now, most: 100 });
}

/** Fills a list of name, bar and value. */
function bars(list, rows) {
  fill(list, rows, (row) => {
    const item = element("li"), track = element("div"), bar = element("i");
    track.className = `track ${row.share === undefined ? "none" : ""} ${row.level || ""}`;
    bar.style.width = `${Math.min(100, Math.max(0, 100 * (row.share || 0)))}%`;
    track.append(bar);
    const value = element("span", row.text);
    value.className = "value";
    item.append(element("span", row.name), track, value);
    return item;
  });
}

function fill(list, rows, make) {
  list.replaceChildren(...rows.map(make));
}

function element(tag, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function withUnit(place, text, unit) {
  place.textContent = text;
  if (text !== "–") place.append(element("small", unit));
}

const number = (value, digits) => (value == null ? "–" : value.toFixed(digits));
const short = (value) => (value == null ? "–" : String(Number(value.toPrecision(3))));
const count = (part, whole) => `${part.toLocaleString("en")} of ${whole.toLocaleString("en")}`;
const words = (text) => text.replace(/[-_.]/g, " ");
const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
