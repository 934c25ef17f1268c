// The status page: what the server tells about itself, asked again every few seconds while somebody looks.

import { $, base, loadStatus, showVersion } from "./shared.js";

const every = 5000;

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...properties });
}

function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1024 && unit < units.length - 1; unit++) bytes /= 1024;
  return `${bytes >= 100 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = Math.max(0, units.findIndex(([, length]) => seconds >= length));
  if (seconds < 1) return "0 s";
  return units.slice(at, at + 2).map(([name, length], i) => {
    const n = Math.floor((i === 0 ? seconds : seconds % units[at][1]) / length);
    return n > 0 || i === 0 ? `${n} ${name}` : "";
  }).filter(Boolean).join(" ");
}

/** Sums of the Prometheus series by name, as far as they can be had. */
async function loadMetrics() {
  const sums = new Map();
  try {
    const reply = await fetch(new URL("metrics", base), { cache: "no-store" });
    if (!reply.ok) return sums;
    for (const line of (await reply.text()).split("\n")) {
      const match = /^([a-z_]+)(?:\{.*\})? (\S+)$/.exec(line);
      if (match) sums.set(match[1], (sums.get(match[1]) ?? 0) + Number(match[2]));
    }
  } catch {
    // the tiles that need them are left out
  }
  return sums;
}

function tile(name, value, more) {
  const box = document.createElement("div");
  const text = element("dd", value);
  if (more) text.append(element("small", more));
  box.append(element("dt", name), text);
  return box;
}

function row(...cells) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const box = document.createElement("td");
    box.append(cell);
    line.append(box);
  }
  return line;
}

const tag = (text, on) => element("span", text, { className: on ? "tag on" : "tag" });

const words = { ready: "Ready for requests", "not ready": "Not ready", stopping: "Stopping" };

async function show() {
  const status = await loadStatus();
  const state = $("#state");
  if (!status) {
    state.textContent = "The server cannot be reached.";
    state.dataset.state = "bad";
    return;
  }
  const metrics = await loadMetrics();
  showVersion(status);
  if (state.textContent !== words[status.status]) state.textContent = words[status.status]; // said once, not every time
  state.dataset.state = status.status === "ready" ? "ready" : "bad";

  const tiles = [
    tile("Version", status.version),
    tile("Up for", duration(status.uptime_seconds)),
    tile("Model", status.model || "…", status.precision),
    tile("Kernels", status.kernels || "…", `${status.cpus} ${status.cpus === 1 ? "core" : "cores"}`),
  ];
  const inferences = metrics.get("cutout_inference_duration_seconds_count");
  if (metrics.has("cutout_requests_in_flight")) tiles.push(tile("In flight", Math.max(0, metrics.get("cutout_requests_in_flight") - 1), "besides this page’s own"));
  if (inferences) {
    tiles.push(tile("Runs of the network", inferences.toLocaleString("en"),
      `${Math.round((metrics.get("cutout_inference_duration_seconds_sum") / inferences) * 1000)} ms each on average`));
  }
  if (status.queue) tiles.push(tile("Kept for jobs", size(status.queue.store_bytes), "uploads and results"));
  tiles.push(tile("API key", status.keys ? "needed" : "not needed"));
  $("#tiles").replaceChildren(...tiles);

  $("#checks").replaceChildren(...Object.entries(status.checks).map(([name, text]) => row(name, tag(text, text === "ok"))));
  $("#models").replaceChildren(...status.models.map((m) => {
    const link = element("a", new URL(m.source).hostname, { href: m.source, rel: "noreferrer" });
    return row(element("strong", m.name), tag(m.active ? "in use" : m.installed ? "installed" : "not installed", m.active), size(m.bytes), m.licence, link);
  }));
  const kinds = Object.entries(status.queue?.kinds ?? {});
  $("#queues").replaceChildren(...kinds.map(([kind, q]) =>
    row(kind, String(q.waiting), String(q.running), q.oldest_seconds === undefined ? "–" : duration(q.oldest_seconds))));
  if (!kinds.length) $("#queues").replaceChildren(row(status.queue ? "No kind of job is taken." : "There is no job store.", "", "", ""));
}

await show();
setInterval(() => document.hidden || show(), every);
