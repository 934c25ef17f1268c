// A picture before and after: a slider between the two, zoom, and moving about.

const deepest = 16;

/** Makes a view work. Returns what the buttons around it do. */
export function compare(view, slider, options = {}) {
  let zoom = 1, x = 0, y = 0;
  const set = (name, value) => view.style.setProperty(name, value);
  const natural = () => {
    const e = view.querySelector(".after img, .after video");
    return { w: e.naturalWidth ?? e.videoWidth, h: e.naturalHeight ?? e.videoHeight };
  };

  function slide(percent) {
    slider.value = Math.round(Math.min(100, Math.max(0, percent)));
    set("--at", `${slider.value}%`);
  }

  // How many screen pixels one pixel of the picture takes when all of it is seen.
  function fitted() {
    const { w, h } = natural();
    return w && h ? Math.min(view.clientWidth / w, view.clientHeight / h) : 1;
  }

  function draw() {
    const { w, h } = natural();
    // No further than the picture's own edge.
    const reach = (side, length) => Math.max(0, (length * fitted() * zoom - side) / 2);
    const limitX = reach(view.clientWidth, w), limitY = reach(view.clientHeight, h);
    x = Math.min(limitX, Math.max(-limitX, x));
    y = Math.min(limitY, Math.max(-limitY, y));
    set("--zoom", zoom);
    set("--x", `${x}px`);
    set("--y", `${y}px`);
    view.toggleAttribute("data-zoomed", zoom > 1);
    view.toggleAttribute("data-pixels", zoom * fitted() * devicePixelRatio >= 3);
    options.onZoom?.(zoom, Math.round(zoom * fitted() * devicePixelRatio * 100));
  }

  // The point of the picture below (atX, atY), counted from the view's centre, stays where it is.
  function zoomTo(level, atX = 0, atY = 0) {
    const next = Math.min(deepest, Math.max(1, level));
    x = atX - ((atX - x) * next) / zoom;
    y = atY - ((atY - y) * next) / zoom;
    zoom = next;
    draw();
  }

  const fromCentre = (event) => {
    const box = view.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  };

  slider.addEventListener("input", () => slide(slider.value));

  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest(".busy")) return;
    const onEdge = event.target.closest(".edge");
    if (!onEdge && zoom === 1 && event.pointerType !== "mouse") return; // a finger scrolls the page
    event.preventDefault();
    view.focus({ preventScroll: true });
    view.setPointerCapture(event.pointerId);
    const start = { x: event.clientX - x, y: event.clientY - y };
    const sliding = onEdge || zoom === 1;
    const follow = (move) => {
      if (sliding) {
        const box = view.getBoundingClientRect();
        slide(((move.clientX - box.left) / box.width) * 100);
        return;
      }
      x = move.clientX - start.x;
      y = move.clientY - start.y;
      draw();
    };
    if (sliding) follow(event);
    view.classList.toggle("panning", !sliding);
    view.addEventListener("pointermove", follow);
    const end = () => {
      view.removeEventListener("pointermove", follow);
      view.classList.remove("panning");
    };
    view.addEventListener("pointerup", end, { once: true });
    view.addEventListener("pointercancel", end, { once: true });
  });

  if (options.onZoom) {
    view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && zoom === 1) return; // the page scrolls
      event.preventDefault();
      zoomTo(zoom * Math.exp(-event.deltaY / 240), ...fromCentre(event));
    }, { passive: false });
    view.addEventListener("dblclick", (event) => zoomTo(zoom > 1 ? 1 : 4, ...fromCentre(event)));
    view.addEventListener("keydown", (event) => {
      const step = 48;
      const keys = {
        "+": () => zoomTo(zoom * 1.5), "=": () => zoomTo(zoom * 1.5), "-": () => zoomTo(zoom / 1.5), 0: () => zoomTo(1),
        ArrowLeft: () => { x += step; draw(); }, ArrowRight: () => { x -= step; draw(); },
        ArrowUp: () => { y += step; draw(); }, ArrowDown: () => { y -= step; draw(); },
      };
      if (event.ctrlKey || event.metaKey || !keys[event.key] || (event.key.startsWith("Arrow") && zoom === 1)) return;
      event.preventDefault();
      keys[event.key]();
    });
    new ResizeObserver(draw).observe(view);
  }

  return { slide, zoomIn: () => zoomTo(zoom * 1.5), zoomOut: () => zoomTo(zoom / 1.5), fit: () => zoomTo(1), redraw: draw };
}
