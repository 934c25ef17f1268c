// What every page has: the theme, the key, the version in the footer.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** The address of the server's root, with a slash at its end, wherever a proxy puts it. */
export const base = new URL(".", location.href);

const themes = ["system", "light", "dark"];
const labels = { system: "as the system", light: "light", dark: "dark" };

function setUpTheme() {
  const button = $("#theme");
  const current = () => document.documentElement.dataset.theme ?? "system";
  const label = () => button.setAttribute("aria-label", `Theme: ${labels[current()]}`);
  label();
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(current()) + 1) % themes.length];
    // The server reads the cookie, so that the next page is painted right from the start.
    const cookie = `cutout_theme=${next}; path=${base.pathname}; samesite=strict`;
    if (next === "system") {
      delete document.documentElement.dataset.theme;
      document.cookie = `${cookie}; max-age=0`;
    } else {
      document.documentElement.dataset.theme = next;
      document.cookie = `${cookie}; max-age=31536000`;
    }
    label();
  });
}

const keyName = "cutout-key";

/** The key of this tab, empty where there is none. */
export const key = () => sessionStorage.getItem(keyName) ?? "";

/** The headers that a request needs. */
export const headers = () => (key() ? { "X-API-Key": key() } : {});

/** Asks for a key; resolves to whether there is a new one. */
export function askForKey() {
  const dialog = $("#key");
  if (dialog.open) return Promise.resolve(false);
  const input = $("#key-value");
  input.value = key();
  dialog.returnValue = "cancel";
  dialog.showModal();
  input.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const saved = dialog.returnValue === "save";
      if (saved && input.value.trim()) sessionStorage.setItem(keyName, input.value.trim());
      if (saved && !input.value.trim()) sessionStorage.removeItem(keyName);
      input.value = "";
      resolve(saved);
    }, { once: true });
  });
}

// A key typed and confirmed with the Enter key is meant to be used, whichever button comes first.
function setUpKey() {
  $("#key-value")?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    $("#key").close("save");
  });
}

/** What the server tells about itself; null where it cannot be asked. */
export async function loadStatus() {
  try {
    const reply = await fetch(new URL("status.json", base), { cache: "no-store" });
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}

/** Puts the version where it belongs. */
export function showVersion(status) {
  if (status) $("#version").textContent = `cutout ${status.version}`;
}

setUpTheme();
setUpKey();
