// The page's options as code, in each format the server speaks and three languages.

/** The formats, in the order in which they are offered. */
export const dialects = [
  ["api4ai", "API4AI"], ["removebg", "remove.bg"], ["photoroom", "PhotoRoom"], ["rembg", "rembg"], ["apisphere", "APISphere"],
  ["ximilar", "Ximilar"], ["backgroundremoverai", "BackgroundRemoverAI"],
];

const isMask = (o) => o.mode === "fg-mask";
const hasShadow = (o) => o.mode === "fg-image-shadow";
const color = (o) => (!isMask(o) && o.background.kind === "color" ? o.background.color : "");
const picture = (o) => (!isMask(o) && o.background.kind === "picture" ? o.background.name : "");
const tuned = (o) => hasShadow(o) && (o.shadow !== "3D" || o.opacity !== 75);

/**
 * What a request is made of: path, query, text fields, files as [field, name], the name of the result, where in the
 * reply that is (a path into the JSON; null: it is the reply), and what the format cannot say.
 */
function describe(id, o) {
  const r = { path: "", query: {}, fields: {}, files: [], out: isMask(o) ? "mask.png" : "cutout.png", reply: null, notes: [] };
  const cannot = (...what) => {
    const words = what.filter(Boolean);
    if (words.length) r.notes.push(`This format has no way to ask for ${words.join(", ").replace(/, ([^,]*)$/, " or $1")}: left out.`);
  };
  const quality = (fixed) => o.quality !== fixed && `quality “${o.quality}” (it is always “${fixed}”)`;
  const subject = o.subject === "human" ? "person" : o.subject === "product" ? "product" : "auto";
  const shadow = hasShadow(o) && "a shadow";
  switch (id) {
    case "api4ai":
      r.path = "v1/results";
      r.query = { mode: o.mode, quality: o.quality, subject: o.subject };
      r.files.push(["image", o.file]);
      if (picture(o)) r.files.push(["image-bg", picture(o)]);
      r.reply = ["results", 0, "entities", 0, "image"];
      cannot(color(o) && "a background colour", tuned(o) && "another shadow than its own");
      break;
    case "removebg":
      r.path = "v1.0/removebg";
      r.files.push(["image_file", o.file]);
      r.fields = { size: "auto", format: "png", type: subject, quality: o.quality };
      if (isMask(o)) r.fields.channels = "alpha";
      if (hasShadow(o)) Object.assign(r.fields, { shadow_type: o.shadow, shadow_opacity: String(o.opacity) });
      if (color(o)) r.fields.bg_color = color(o).slice(1);
      if (picture(o)) r.files.push(["bg_image_file", picture(o)]);
      break;
    case "photoroom":
      r.path = "v1/segment";
      r.files.push(["image_file", o.file]);
      r.fields = { format: "png", size: "full" };
      if (isMask(o)) r.fields.channels = "alpha";
      if (color(o)) r.fields.bg_color = color(o).slice(1);
      cannot(quality("balanced"), o.subject !== "universal" && "a kind of subject", shadow, picture(o) && "a background picture");
      break;
    case "rembg":
      r.path = "api/remove";
      r.files.push(["file", o.file]);
      r.fields = { model: o.subject === "human" ? "u2net_human_seg" : "u2net" };
      if (isMask(o)) r.fields.om = "true";
      else if (o.quality === "precise") r.fields.a = "true";
      else if (o.quality === "balanced") r.fields.dc = "true";
      if (color(o)) r.query.bgc = `${[1, 3, 5].map((at) => parseInt(color(o).slice(at, at + 2), 16)).join(",")},255`;
      cannot(isMask(o) && quality("fast"), o.subject === "product" && "products", shadow, picture(o) && "a background picture");
      break;
    case "apisphere":
      r.path = "v1/remove-bg/universal";
      r.files.push(["image", o.file]);
      r.fields = { subject: o.subject, output_format: isMask(o) ? "mask" : color(o) === "#ffffff" ? "white_bg" : "transparent" };
      if (r.fields.output_format === "white_bg") r.out = "cutout.jpg";
      if (isMask(o)) r.notes.push("Masks of this format are black and white, without soft edges.");
      cannot(quality("balanced"), shadow, color(o) && color(o) !== "#ffffff" && "a colour but white", picture(o) && "a background picture");
      break;
    case "ximilar":
      r.path = `removebg/${o.quality === "precise" ? "precise" : "fast"}/removebg`;
      r.body = {};
      r.output = "_output_url";
      if (isMask(o)) [r.body.binary_mask, r.output] = [true, "_output_url_mask"];
      else if (color(o) === "#ffffff") [r.body.white_background, r.output] = [true, "_output_url_whitebg"];
      r.body.image_format = "png";
      cannot(o.quality === "balanced" && "quality “balanced” (there are “fast” and “precise”)", o.subject !== "universal" && "a kind of subject",
        shadow, color(o) && color(o) !== "#ffffff" && "a colour but white", picture(o) && "a background picture");
      r.notes.push("The result is a link that lives for a day; it needs no key.");
      break;
    case "backgroundremoverai":
      r.path = "v1/convert/";
      r.files.push(["files", o.file]);
      r.fields = { convert_to: "image-backgroundremover" };
      if (o.subject === "human") r.fields.model = "u2net_human_seg";
      if (o.quality === "precise") r.fields.alpha_matting = "true";
      if (isMask(o)) r.fields.only_mask = "true";
      if (color(o)) Object.assign(r.fields, { bg_type: "color", bg_color_value: color(o) });
      if (picture(o)) {
        r.fields.bg_type = "image";
        r.files.push(["bg_image", picture(o)]);
      }
      cannot(o.quality === "fast" && "quality “fast”", o.subject === "product" && "products", shadow);
      r.notes.push("A job: it is asked after until it is done. Several files may be handed in at once.");
      break;
    default:
      throw new Error(`no format ${id}`);
  }
  return r;
}

const address = (o, r) => {
  const query = new URLSearchParams(r.query).toString();
  return o.base + r.path + (query && `?${query}`);
};

// Shell: everything in single quotes unless it is plain.
const sh = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
// curl: names with , ; or " stand in double quotes of its own.
const curlFile = (name) => (/[,;"\\]/.test(name) ? `@"${name.replace(/["\\]/g, "\\$&")}"` : `@${name}`);
const curlURL = (url) => (url.includes("?") || url.includes("[") ? `'${url}'` : url);

function curl(o, r) {
  const head = o.keys ? ` \\\n  -H "X-API-Key: $CUTOUT_KEY"` : "";
  const form = [
    ...r.files.map(([field, name]) => `-F ${sh(`${field}=${curlFile(name)}`)}`),
    ...Object.entries(r.fields).map(([field, value]) => `-F ${sh(`${field}=${value}`)}`),
  ].map((part) => ` \\\n  ${part}`).join("");
  const request = `curl --fail-with-body -sS ${curlURL(address(o, r))}${head}`;
  if (r.body) {
    const wanted = Object.entries(r.body).map(([name, value]) => `, ${name}: ${JSON.stringify(value)}`).join("");
    return [
      `base64 < ${sh(o.file)} | tr -d '\\n' |`,
      `  jq -R '{records: [{_base64: .${wanted}}]}' |`,
      `  ${request.replaceAll("\n", "\n  ")} \\\n    -H 'Content-Type: application/json' -d @- |`,
      `  jq -r '.records[0].${r.output}' |`,
      `  xargs curl -sSf -o ${r.out}`,
    ].join("\n");
  }
  if (r.path === "v1/convert/") {
    return [
      `uuid=$(${request}${form} | jq -r .uuid)`,
      `until url=$(curl -sS ${o.base}v1/results/${o.keys ? ` -H "X-API-Key: $CUTOUT_KEY"` : ""} -d uuid=$uuid |`,
      `  jq -er 'select(.finished) | .files[0].url // "/failed"'); do sleep 1; done`,
      `curl -sSf ${new URL(o.base).origin}"$url" -o ${r.out}`,
    ].join("\n");
  }
  if (r.reply) {
    const path = r.reply.map((step) => (typeof step === "number" ? `[${step}]` : `.${step}`)).join("");
    return `${request}${form} |\n  jq -r ${sh(path)} | base64 -d > ${r.out}`;
  }
  return `${request}${form} \\\n  -o ${r.out}`;
}

const py = (value) => (value === true ? "True" : JSON.stringify(value));
const pyDict = (object) => `{${Object.entries(object).map(([name, value]) => `${py(name)}: ${py(value)}`).join(", ")}}`;

function python(o, r) {
  const url = o.base + r.path;
  const key = o.keys ? `\n    headers={"X-API-Key": os.environ["CUTOUT_KEY"]},` : "";
  const lines = [r.body && "import base64", o.keys && "import os", r.path === "v1/convert/" && "import time"].filter(Boolean);
  if (r.reply) lines.unshift("import base64");
  if (lines.length) lines.push("");
  lines.push("import requests", "");
  if (r.body) {
    lines.push(
      `with open(${py(o.file)}, "rb") as photo:`, `    encoded = base64.b64encode(photo.read()).decode()`,
      `reply = requests.post(`, `    ${py(url)},${key}`,
      `    json={"records": [{"_base64": encoded, ${pyDict(r.body).slice(1, -1)}}]},`, `)`, `reply.raise_for_status()`,
      `link = reply.json()["records"][0]["${r.output}"]`, `with open(${py(r.out)}, "wb") as result:`,
      `    result.write(requests.get(link).content)`,
    );
    return lines.join("\n");
  }
  const query = Object.keys(r.query).length ? `\n    params=${pyDict(r.query)},` : "";
  const data = Object.keys(r.fields).length ? `\n    data=${pyDict(r.fields)},` : "";
  const files = r.files.map(([field, name]) => `${py(field)}: open(${py(name)}, "rb")`).join(", ");
  lines.push(`reply = requests.post(`, `    ${py(url)},${key}${query}${data}`, `    files={${files}},`, `)`, `reply.raise_for_status()`);
  if (r.path === "v1/convert/") {
    lines.push(
      `job = reply.json()["uuid"]`, `while True:`,
      `    state = requests.post(${py(`${o.base}v1/results/`)}, data={"uuid": job}${o.keys ? `,\n        headers={"X-API-Key": os.environ["CUTOUT_KEY"]}` : ""}).json()`,
      `    if state["finished"]:`, `        break`, `    time.sleep(1)`,
      `link = ${py(new URL(o.base).origin)} + state["files"][0]["url"]`, `with open(${py(r.out)}, "wb") as result:`,
      `    result.write(requests.get(link).content)`,
    );
    return lines.join("\n");
  }
  const content = r.reply ? `base64.b64decode(reply.json()${r.reply.map((step) => `[${py(step)}]`).join("")})` : "reply.content";
  lines.push(`with open(${py(r.out)}, "wb") as result:`, `    result.write(${content})`);
  return lines.join("\n");
}

function javascript(o, r) {
  const js = JSON.stringify;
  const head = (extra = "") => {
    const all = [o.keys && `"X-API-Key": process.env.CUTOUT_KEY`, extra].filter(Boolean).join(", ");
    return all && `, headers: { ${all} }`;
  };
  const lines = [`import { readFile, writeFile } from "node:fs/promises";`, ""];
  const check = `if (!reply.ok) throw new Error(await reply.text());`;
  if (r.body) {
    const wanted = Object.entries(r.body).map(([name, value]) => `, ${name}: ${js(value)}`).join("");
    lines.push(
      `const _base64 = await readFile(${js(o.file)}, "base64");`,
      `const reply = await fetch(${js(address(o, r))}, {`, `  method: "POST"${head(`"Content-Type": "application/json"`)},`,
      `  body: JSON.stringify({ records: [{ _base64${wanted} }] }),`, `});`, check, `const { records } = await reply.json();`,
      `const result = await fetch(records[0].${r.output});`,
      `await writeFile(${js(r.out)}, Buffer.from(await result.arrayBuffer()));`,
    );
    return lines.join("\n");
  }
  lines.push(`const body = new FormData();`);
  for (const [field, name] of r.files) lines.push(`body.append(${js(field)}, new Blob([await readFile(${js(name)})]), ${js(name)});`);
  for (const [field, value] of Object.entries(r.fields)) lines.push(`body.append(${js(field)}, ${js(value)});`);
  lines.push(`const reply = await fetch(${js(address(o, r))}, { method: "POST"${head()}, body });`, check);
  if (r.path === "v1/convert/") {
    lines.push(
      `const job = new URLSearchParams(await reply.json());`, `let state;`, `do {`, `  await new Promise((wake) => setTimeout(wake, 1000));`,
      `  state = await (await fetch(${js(`${o.base}v1/results/`)}, { method: "POST"${head()}, body: job })).json();`,
      `} while (!state.finished);`, `const result = await fetch(new URL(state.files[0].url, ${js(o.base)}));`,
      `await writeFile(${js(r.out)}, Buffer.from(await result.arrayBuffer()));`,
    );
    return lines.join("\n");
  }
  if (r.reply) {
    const path = r.reply.map((step) => (typeof step === "number" ? `[${step}]` : `.${step}`)).join("");
    lines.push(`const reading = await reply.json();`, `await writeFile(${js(r.out)}, Buffer.from(reading${path}, "base64"));`);
  } else {
    lines.push(`await writeFile(${js(r.out)}, Buffer.from(await reply.arrayBuffer()));`);
  }
  return lines.join("\n");
}

/** The code for a request, and what is to be said about it. */
export function snippet(id, language, o) {
  const r = describe(id, o);
  const code = { curl, python, javascript }[language](o, r);
  return { code, notes: o.keys ? [...r.notes, "CUTOUT_KEY is an environment variable that holds your key."] : r.notes };
}
