// The front page: photos in, cutouts out. Every result comes from the API that all other clients use.

import { compare } from "./compare.js";
import { $, $$, askForKey, base, headers, key, loadStatus, showVersion } from "./shared.js";
import { dialects, snippet } from "./snippets.js";
import { videoElements, videoPrint, videoRequest, videoResult } from "./video.js";
import { zip } from "./zip.js";

const atOnce = 3; // requests in flight
const keptResults = 6; // of each photo, by their options
const patience = 3; // further tries where the server is busy

const items = [];
const form = $("#options");
let backgroundPicture = null;
let ownColor = false;
let needsKey = false;
let running = 0;

// ---- Options

function readOptions() {
  const value = (name) => form.elements[name].value;
  const swatch = value("background");
  let background = { kind: "none" };
  if (backgroundPicture) background = { kind: "picture", name: backgroundPicture.name, file: backgroundPicture };
  else if (ownColor) background = { kind: "color", color: $("#color").value };
  else if (swatch && swatch !== "none") background = { kind: "color", color: swatch };
  return {
    mode: value("mode"), quality: value("quality"), subject: value("subject"), shadow: value("shadow"), opacity: Number(value("opacity")),
    background,
  };
}

/** What tells one result from another. */
function fingerprint(o, file) {
  if (isVideo(file)) return videoPrint(o);
  const b = o.background;
  return JSON.stringify([
    o.mode, o.quality, o.subject, o.mode === "fg-image-shadow" && [o.shadow, o.opacity],
    o.mode !== "fg-mask" && [b.kind, b.color, b.file && [b.file.name, b.file.size, b.file.lastModified]],
  ]);
}

const hints = {
  fast: "The first look, as it is.",
  balanced: "Edges follow the photo, and lose the background’s colour.",
  precise: "The closest look at hair and fur. Takes longest.",
};

function showOptions() {
  const o = readOptions();
  $("#shadow").hidden = o.mode !== "fg-image-shadow";
  $("#background").disabled = o.mode === "fg-mask";
  $("#strength").value = `${o.opacity} %`;
  $("#quality-hint").textContent = hints[o.quality];
  $(".color").toggleAttribute("data-on", ownColor);
  $("#picture").toggleAttribute("data-on", Boolean(backgroundPicture));
  $("#background-hint").textContent = o.mode === "fg-mask" ? "A mask has none." : backgroundPicture ? backgroundPicture.name : "";
  showSnippet();
}

let waiting;
function optionsChanged(delay = 0) {
  showOptions();
  clearTimeout(waiting);
  waiting = setTimeout(() => items.forEach(refresh), delay);
}

form.addEventListener("input", (event) => {
  if (event.target.name === "background") [backgroundPicture, ownColor] = [null, false];
  if (event.target.id === "color") chooseColor();
  optionsChanged(event.target.type === "range" || event.target.id === "color" ? 350 : 60);
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => {
  [backgroundPicture, ownColor] = [null, false];
  setTimeout(optionsChanged); // once the fields are what they were
});

function chooseColor() {
  [backgroundPicture, ownColor] = [null, true];
  $$("input[name=background]").forEach((radio) => (radio.checked = false));
}
$("#color").addEventListener("click", () => {
  chooseColor();
  optionsChanged(350);
});

$("#picture").addEventListener("click", () => $("#pick-background").click());
$("#pick-background").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  [backgroundPicture, ownColor] = [file, false];
  $$("input[name=background]").forEach((radio) => (radio.checked = false));
  optionsChanged();
});

// The server says which modes there are. One that this page has no name for goes by its own.
async function loadModes() {
  let modes;
  try {
    const reply = await fetch(new URL("v1/modes", base), { headers: headers() });
    if (!reply.ok) return;
    modes = await reply.json();
  } catch {
    return; // the first photo will tell
  }
  for (const radio of $$("input[name=mode]")) if (!modes.includes(radio.value)) radio.parentElement.remove();
  for (const mode of modes) {
    if ($(`input[name=mode][value="${CSS.escape(mode)}"]`)) continue;
    const label = $("#modes label").cloneNode(true);
    Object.assign($("input", label), { value: mode, checked: false });
    $("span", label).textContent = mode;
    $("#modes").append(label);
  }
}

// ---- Requests

const tuned = (o) => o.mode === "fg-image-shadow" && (o.shadow !== "3D" || o.opacity !== 75);

/** API4AI's format says most; colours, other shadows and WebP need remove.bg's. */
function request(o, file) {
  const body = new FormData();
  const b = o.mode === "fg-mask" ? { kind: "none" } : o.background;
  if (b.kind !== "color" && !tuned(o) && file.type !== "image/webp" && b.file?.type !== "image/webp") {
    body.append("image", file, file.name);
    if (b.kind === "picture") body.append("image-bg", b.file, b.file.name);
    const query = new URLSearchParams({ mode: o.mode, quality: o.quality, subject: o.subject });
    return { path: `v1/results?${query}`, body, read: readAPI4AI };
  }
  body.append("image_file", file, file.name);
  const fields = { size: "auto", format: "png", quality: o.quality, type: { universal: "auto", human: "person", product: "product" }[o.subject] };
  if (o.mode === "fg-mask") fields.channels = "alpha";
  if (o.mode === "fg-image-shadow") Object.assign(fields, { shadow_type: o.shadow, shadow_opacity: o.opacity });
  if (b.kind === "color") fields.bg_color = b.color.slice(1);
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  if (b.kind === "picture") body.append("bg_image_file", b.file, b.file.name);
  return { path: "v1.0/removebg", body, read: (blob) => ({ blob }) };
}

class Refusal extends Error {}

const isVideo = (file) => file.type.startsWith("video/");

async function readAPI4AI(reply) {
  const [result] = JSON.parse(await reply.text()).results;
  const { code, message } = result.status;
  if (code !== "ok") throw new Refusal(message === "Can not load image." ? "This file could not be read. Is it a JPEG, PNG or WebP?" : message);
  const bytes = Uint8Array.from(atob(result.entities[0].image), (c) => c.charCodeAt(0));
  return { blob: new Blob([bytes], { type: "image/png" }), empty: result.entities[1].objects.length === 0 };
}

/** What a refusal says, in whichever format. */
async function explain(status, blob) {
  const text = await blob.text().catch(() => "");
  try {
    const { errors, detail, message, error } = JSON.parse(text);
    if (errors?.[0]) return [errors[0].title, errors[0].detail].filter(Boolean).join(" – ");
    if (typeof detail === "string") return detail;
    if (Array.isArray(detail)) return detail.map((d) => d.msg).join(" ");
    if (message || error) return message || error;
  } catch {
    // not JSON: the status has to do
  }
  if (status === 413) return "The file is too large for this server.";
  return `The server answered with status ${status}.`;
}

/** Sends a form and reports how far it has come: from 0 to 1 while it is sent, null while it is worked on. */
function send(path, body, signal, onProgress) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", new URL(path, base));
    xhr.responseType = "blob";
    for (const [name, value] of Object.entries(headers())) xhr.setRequestHeader(name, value);
    xhr.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
    xhr.upload.addEventListener("load", () => onProgress(null));
    xhr.addEventListener("load", () => resolve(xhr));
    xhr.addEventListener("error", () => reject(new Refusal("The server cannot be reached.")));
    xhr.addEventListener("abort", () => reject(signal.reason));
    signal.addEventListener("abort", () => xhr.abort());
    xhr.send(body);
  });
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function ask(o, file, signal, onProgress) {
  for (let attempt = 0; ; attempt++) {
    const { path, body, read } = isVideo(file) ? videoRequest(o, file) : request(o, file);
    const xhr = await send(path, body, signal, onProgress);
    if (xhr.status === 200 && isVideo(file)) return videoResult(xhr.response, signal, onProgress, (words) => new Refusal(words));
    if (xhr.status === 200) return read(xhr.response);
    if ((xhr.status === 503 || xhr.status === 429) && attempt < patience) {
      onProgress(null, "The server is busy, waiting…");
      await pause(Math.min(20, Number(xhr.getResponseHeader("Retry-After")) || 2));
      signal.throwIfAborted();
      continue;
    }
    if (needsKey && (xhr.status === 401 || xhr.status === 403)) {
      throw Object.assign(new Refusal(key() ? "The API key is not valid." : "An API key is needed."), { key: true });
    }
    throw new Refusal(await explain(xhr.status, xhr.response));
  }
}

// ---- Photos

function addFiles(files) {
  const added = [...files].map(addFile);
  if (!added.length) return;
  if ($("#work").hidden) {
    $("#hero").hidden = true;
    $("#work").hidden = false;
    $("#panel").open = !matchMedia("(max-width: 62rem)").matches;
    scrollTo({ top: 0 });
    $("#main").focus({ preventScroll: true });
  }
  showOptions();
  summarise();
  next();
}

function addFile(file) {
  const card = $("#card").content.firstElementChild.cloneNode(true);
  const view = $("[data-view]", card);
  const item = { file, card, view, results: new Map(), state: "queued", source: URL.createObjectURL(file) };
  items.push(item);
  $("h2", card).textContent = file.name;
  $("h2", card).title = file.name;
  const slider = $(".reveal input", card);
  slider.setAttribute("aria-label", `How much of ${file.name} is shown before its result`);
  view.setAttribute("aria-label", `${file.name}. Plus and minus zoom, the arrow keys move the picture.`);
  $("[data-do=remove]", card).setAttribute("aria-label", `Remove ${file.name} from the list`);
  item.compare = compare(view, slider, {
    onZoom: (zoom, percent) => ($("[data-do=fit]", card).textContent = zoom === 1 ? "Fit" : `${percent} %`),
  });
  const clips = isVideo(file) ? videoElements(view) : null;
  const before = clips?.before ?? $(".before img", card);
  if (clips) before.setAttribute("aria-label", `The clip ${file.name}`);
  else before.alt = `The photo ${file.name}`;
  before.addEventListener("error", () => (before.hidden = true));
  before.addEventListener(clips ? "loadedmetadata" : "load", () => {
    item.size = `${before.naturalWidth ?? before.videoWidth} × ${before.naturalHeight ?? before.videoHeight}`;
    showMeta(item);
    item.compare.redraw();
  });
  before.src = item.source;
  card.addEventListener("click", (event) => {
    const action = event.target.closest("[data-do]")?.dataset.do;
    const actions = {
      in: item.compare.zoomIn, out: item.compare.zoomOut, fit: item.compare.fit, wide: () => enlarge(item), remove: () => remove(item),
      again: () => refresh(item),
    };
    actions[action]?.();
  });
  $("#cards").append(card);
  if (file.type && !file.type.startsWith("image/") && !isVideo(file)) {
    item.hopeless = true;
    fail(item, `${file.name} is no picture. JPEG, PNG and WebP are taken.`);
  } else {
    setState(item, "queued", "Waiting…");
  }
  return item;
}

function enlarge(item) {
  const button = $("[data-do=wide]", item.card);
  const on = item.card.classList.toggle("big-card");
  button.setAttribute("aria-pressed", String(on));
  item.card.scrollIntoView({ block: "nearest" });
}

function remove(item) {
  const at = items.indexOf(item);
  items.splice(at, 1);
  discard(item);
  const neighbour = items[Math.min(at, items.length - 1)];
  if (neighbour) $("[data-do=remove]", neighbour.card).focus();
  summarise();
}

function discard(item) {
  item.abort?.abort(new DOMException("removed", "AbortError"));
  item.card.remove();
  URL.revokeObjectURL(item.source);
  for (const result of item.results.values()) URL.revokeObjectURL(result.url);
}

/** Brings a photo's result up to the options. */
function refresh(item) {
  if (item.hopeless) return;
  const o = readOptions();
  const print = fingerprint(o, item.file);
  if (item.print === print && (item.state === "done" || item.abort)) return;
  item.abort?.abort(new DOMException("other options", "AbortError"));
  const known = item.results.get(print);
  if (known) {
    show(item, known, print);
    return;
  }
  item.print = null;
  setState(item, "queued", "Waiting…");
  next();
}

/** Starts what may run. */
function next() {
  while (running < atOnce) {
    const item = items.find((candidate) => candidate.state === "queued");
    if (!item) return;
    running++;
    work(item).finally(() => {
      running--;
      next();
    });
  }
}

async function work(item) {
  const o = readOptions();
  const print = fingerprint(o, item.file);
  const abort = new AbortController();
  Object.assign(item, { abort, print });
  const current = () => item.abort === abort;
  setState(item, "working", "Sending…", 0);
  const start = performance.now();
  try {
    const result = await ask(o, item.file, abort.signal, (part, words) => {
      if (current()) setState(item, "working", words ?? (part === null ? "Removing the background…" : "Sending…"), part);
    });
    if (!current()) return;
    Object.assign(result, {
      url: URL.createObjectURL(result.blob), seconds: (performance.now() - start) / 1000, mode: o.mode,
      name: `${item.file.name.replace(/\.[^.]*$/, "")}-${{ "fg-image": "cutout", "fg-image-shadow": "shadow", "fg-mask": "mask" }[o.mode] ?? o.mode}.${result.extension ?? "png"}`,
    });
    item.results.set(print, result);
    for (const [old, { url }] of item.results) {
      if (item.results.size <= keptResults) break;
      URL.revokeObjectURL(url);
      item.results.delete(old);
    }
    item.abort = null;
    show(item, result, print);
  } catch (error) {
    if (!current() || error.name === "AbortError") return;
    item.abort = null;
    if (!(error instanceof Refusal)) console.error(error);
    fail(item, error instanceof Refusal ? error.message : "The server’s answer could not be read.");
    if (error.key && await askForKey()) {
      loadModes();
      items.filter((other) => other.state === "error").forEach(refresh);
    }
  }
}

function show(item, result, print) {
  const { card } = item;
  Object.assign(item, { print, shown: result });
  const clip = isVideo(item.file);
  const after = $(".after img, .after video", card);
  after[clip ? "ariaLabel" : "alt"] = result.empty ? `Nothing was found in ${item.file.name}` : `The result for ${item.file.name}`;
  after[clip ? "onloadeddata" : "onload"] = () => {
    card.dataset.ready = "";
    item.compare.redraw();
  };
  after.src = result.url;
  const link = $("[data-do=save]", card);
  link.href = result.url;
  link.download = result.name;
  link.setAttribute("aria-label", `Download ${result.name}`);
  setState(item, "done");
  showMeta(item);
  say(result.empty ? `${item.file.name}: no subject was found.` : `${item.file.name} is done.`);
}

function fail(item, message) {
  setState(item, "error");
  $(".fault p", item.card).textContent = message;
  $("[data-do=again]", item.card).hidden = Boolean(item.hopeless);
  showMeta(item);
  say(`${item.file.name}: ${message}`);
}

function setState(item, state, words = "", part = null) {
  const { card } = item;
  Object.assign(item, { state });
  card.dataset.state = state;
  card.setAttribute("aria-busy", String(state === "queued" || state === "working"));
  $(".fault", card).hidden = state !== "error";
  $(".busy p", card).textContent = words;
  const bar = $("progress", card);
  bar.setAttribute("aria-label", words);
  if (part === null) bar.removeAttribute("value");
  else bar.value = Math.round(part * 100);
  summarise();
}

function showMeta(item) {
  const parts = [item.size];
  if (item.state === "done") {
    if (item.shown.empty) parts.unshift("no subject found");
    parts.push(`${item.shown.seconds.toFixed(1)} s`);
  }
  $(".meta", item.card).textContent = item.state === "error" ? "" : parts.filter(Boolean).join(" · ");
}

function summarise() {
  const count = (state) => items.filter((item) => item.state === state).length;
  const done = count("done"), failed = count("error");
  $("#summary").textContent = items.length === 0 ? "Add a photo to go on."
    : [`${done} of ${items.length} done`, failed && `${failed} failed`].filter(Boolean).join(", ");
  $("#save-all").hidden = done < 2;
  $("#clear").hidden = items.length === 0;
}

const say = (text) => ($("#live").textContent = text);

// ---- Ways in and out

const pick = $("#pick");
$$("[data-pick]").forEach((button) => button.addEventListener("click", () => pick.click()));
pick.addEventListener("change", () => {
  addFiles(pick.files);
  pick.value = "";
});

$$("[data-sample]").forEach((button) => button.addEventListener("click", async () => {
  const name = button.dataset.sample;
  const reply = await fetch(new URL(`assets/${name}`, base));
  addFiles([new File([await reply.blob()], name, { type: "image/jpeg" })]);
}));

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  addFiles(files);
});

let inside = 0;
const dragsFiles = (event) => event.dataTransfer?.types.includes("Files");
const dragging = (on) => {
  if (!on) inside = 0;
  $("#veil").hidden = !on || $("#work").hidden;
  $("#drop").classList.toggle("over", on);
};
addEventListener("dragenter", (event) => {
  if (!dragsFiles(event)) return;
  inside++;
  dragging(true);
});
addEventListener("dragleave", (event) => dragsFiles(event) && --inside <= 0 && dragging(false));
addEventListener("dragover", (event) => dragsFiles(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!dragsFiles(event)) return;
  event.preventDefault();
  dragging(false);
  addFiles(event.dataTransfer.files);
});

$("#clear").addEventListener("click", () => {
  items.splice(0).forEach(discard);
  $("#work").hidden = true;
  $("#hero").hidden = false;
  $("#main").focus({ preventScroll: true });
});

$("#save-all").addEventListener("click", async () => {
  const done = items.filter((item) => item.state === "done").map(({ shown }) => shown);
  const url = URL.createObjectURL(await zip(done));
  Object.assign(document.createElement("a"), { href: url, download: "cutouts.zip" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
});

// ---- Code

const dialect = $("#dialect");
for (const [id, name] of dialects) dialect.append(new Option(name, id));

function showSnippet() {
  const o = readOptions();
  const last = items.findLast((item) => !item.hopeless && !isVideo(item.file));
  const { code, notes } = snippet(dialect.value, $("input[name=language]:checked").value, {
    ...o, file: last?.file.name ?? "photo.jpg", base: base.href, keys: needsKey,
  });
  $("#snippet").textContent = code;
  $("#notes").replaceChildren(...notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })));
}

$(".code-bar").addEventListener("input", showSnippet);

$("#copy").addEventListener("click", async () => {
  const label = $("#copy span");
  let copied = true;
  try {
    await navigator.clipboard.writeText($("#snippet").textContent);
  } catch {
    // Without TLS there is no clipboard but the selection's.
    getSelection().selectAllChildren($("#snippet"));
    copied = document.execCommand("copy");
    getSelection().removeAllRanges();
  }
  label.textContent = copied ? "Copied" : "Press Ctrl+C";
  say(copied ? "The code is copied." : "The code could not be copied.");
  setTimeout(() => (label.textContent = "Copy"), 2000);
});

// ---- Start

$("#key-open").addEventListener("click", async () => {
  if (!await askForKey()) return;
  loadModes();
  items.filter((item) => item.state === "error").forEach(refresh);
});

compare($("#demo [data-view]"), $("#demo input"));
showOptions();

const status = await loadStatus();
showVersion(status);
needsKey = Boolean(status?.keys);
if (status?.checks.video === "ok") $("#takes").textContent = "JPEG, PNG or WebP, or a video; several at once";
$("#key-open").hidden = !needsKey;
showSnippet();
if (!needsKey || key()) loadModes();
