// Clips: handed in as a job of BackgroundRemoverAI's format, and asked after until it is done.

import { base } from "./shared.js";

const pollEvery = 700; // milliseconds

/** The format that a clip comes back in, by what is wanted below the subject. */
function fields(o) {
  const b = o.background;
  const out = { convert_to: "video-backgroundremover", model: o.subject === "human" ? "u2net_human_seg" : "u2net" };
  if (o.mode === "fg-mask") return { ...out, video_format: "mattekey" };
  if (b.kind === "color") return { ...out, video_format: "mp4_with_color", video_bg_color: b.color };
  if (b.kind === "picture") return { ...out, video_format: "video_over_image" };
  return { ...out, video_format: "webm" };
}

/** What tells one result of a clip from another: quality and shadow do nothing to it. */
export function videoPrint(o) {
  const file = o.mode !== "fg-mask" && o.background.file;
  return JSON.stringify([fields(o), file && [file.name, file.size, file.lastModified]]);
}

/** The request for a clip. */
export function videoRequest(o, file) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields(o))) body.append(name, value);
  body.append("files", file, file.name);
  if (body.get("video_format") === "video_over_image") body.append("bg_image", o.background.file, o.background.file.name);
  return { path: "v1/convert/", body };
}

/** Waits for a job and gets its result. refuse makes an error of a sentence. */
export async function videoResult(reply, signal, onProgress, refuse) {
  const { uuid } = JSON.parse(await reply.text());
  const gone = () => void fetch(new URL(`v1/jobs/${uuid}`, base), { method: "DELETE", keepalive: true });
  signal.addEventListener("abort", gone);
  for (;;) {
    const answer = await fetch(new URL("v1/results/", base), { method: "POST", body: new URLSearchParams({ uuid }), signal });
    const state = await answer.json();
    if (!answer.ok) throw refuse(state.error ?? `The server answered with status ${answer.status}.`);
    if (state.finished) {
      signal.removeEventListener("abort", gone);
      if (!state.files.length) throw refuse(state.errors[0] ?? "The clip gives no result.");
      const [{ url }] = state.files;
      // The path is that from the server's root, which a proxy may have put below another.
      const file = await fetch(new URL(url.replace(/^\/+/, ""), base), { signal });
      if (!file.ok) throw refuse(`The result is gone: status ${file.status}.`);
      return { blob: await file.blob(), extension: url.slice(url.lastIndexOf(".") + 1) };
    }
    const p = state.progress;
    if (p?.frames_total) {
      const left = p.remaining_seconds === null ? "" : `, ${p.remaining_seconds} s left`;
      onProgress(p.frames_done / p.frames_total, `Frame ${p.frames_done} of ${p.frames_total}${left}`);
    } else if (p?.frames_done) {
      onProgress(null, `Frame ${p.frames_done}`);
    } else {
      onProgress(null, state.queue_count > 1 ? `${state.queue_count - 1} jobs before this one` : "Getting ready…");
    }
    await new Promise((wake) => setTimeout(wake, pollEvery));
    signal.throwIfAborted();
  }
}

/** Puts clips in the place of pictures, and keeps what is before and after at the same moment. */
export function videoElements(view) {
  const [after, before] = [".after", ".before"].map((layer) => {
    const clip = Object.assign(document.createElement("video"), { muted: true, loop: true, autoplay: true, playsInline: true });
    view.querySelector(`${layer} img`).replaceWith(clip);
    return clip;
  });
  after.addEventListener("timeupdate", () => {
    if (before.readyState > 1 && Math.abs(before.currentTime - after.currentTime) > 0.15) before.currentTime = after.currentTime;
  });
  return { after, before };
}
