"use strict";
// The latent map on a canvas, and tables that sort. Everything it shows is in this page; nothing is fetched.
(() => {
  const began = performance.now();
  const holder = document.getElementById("points");
  if (holder) map(JSON.parse(holder.textContent));
  for (const table of document.querySelectorAll("table.sortable")) sortable(table);
  document.documentElement.dataset.drawn = String(Math.round(performance.now() - began));

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.title = "Sort";
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => {
          const cell = row.cells[column];
          return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent;
        };
        const rows = [...body.rows].sort((a, b) => {
          const x = value(a), y = value(b);
          if ((x === "") !== (y === "")) return x === "" ? 1 : -1; // what is not known stands last, whichever way
          const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
          return down ? -order : order;
        });
        body.append(...rows);
      });
    });
  }

  function unpack(about) {
    const text = atob(about.data), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    let at = 0;
    const take = (wide, count) => {
      const part = bytes.slice(at, (at += wide * count)).buffer;
      return wide === 1 ? new Uint8Array(part) : wide === 2 ? new Uint16Array(part) : new Uint32Array(part);
    };
    const n = about.n;
    return { n, xy: take(2, 2 * n), of: take(about.wide[0], n), start: take(about.wide[1], 3 * n), marks: take(1, n) };
  }

  function map(about) {
    const points = unpack(about), canvas = document.getElementById("plane"), tip = document.getElementById("tip");
    const said = document.getElementById("said"), shots = new Map(about.shots.map((point, tile) => [point, tile]));
    const shown = about.marks.map(() => true), base = document.createElement("canvas");
    const marked = [];
    for (let i = 0; i < points.n; i++) if (points.marks[i]) marked.push(i);
    marked.sort((a, b) => points.xy[2 * a] - points.xy[2 * b] || points.xy[2 * a + 1] - points.xy[2 * b + 1]);
    let byVolume = false, zoom = 1, panX = 0, panY = 0, current = -1, width = 0, height = 0, dpr = 1;

    const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const bright = { "#0072B2": "#56ACE6", "#009E73": "#2FC79A", "#D55E00": "#FF8547" }; // on a dark ground
    const look = (bit) => {
      const [kind, colour] = about.styles[bit];
      return [kind, (matchMedia("(prefers-color-scheme: dark)").matches && bright[colour]) || colour];
    };
    const side = () => Math.min(width - 40, (height - 40) / Math.max(about.aspect, 0.05));
    const px = (i) => width / 2 + ((points.xy[2 * i] / 65535 - 0.5) * side() + panX) * zoom;
    const py = (i) => height / 2 + ((points.xy[2 * i + 1] / 65535 - 0.5) * side() + panY) * zoom;

    function shape(c, kind, x, y, r) {
      c.beginPath();
      if (kind === "s") c.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7);
      else if (kind === "D") { c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.2, y); c.lineTo(x, y + r * 1.2); c.lineTo(x - r * 1.2, y); }
      else if (kind === "^") { c.moveTo(x, y - r * 1.15); c.lineTo(x + r * 1.1, y + r * 0.85); c.lineTo(x - r * 1.1, y + r * 0.85); }
      else if (kind === "X") {
        const a = r * 0.4, b = r * 1.05;
        for (const [u, v] of [[0, -a], [b - a, -b], [b, a - b], [a, 0], [b, b - a], [b - a, b], [0, a], [a - b, b], [-b, b - a], [-a, 0], [-b, a - b], [a - b, -b]]) c.lineTo(x + u, y + v);
      } else c.arc(x, y, kind === "." ? r * 0.75 : r, 0, 7);
      c.closePath();
    }

    const visible = (i) => about.marks.some((_, bit) => shown[bit] && points.marks[i] & (1 << bit));

    function pool() { // straight into pixels: a hundred thousand patches in a few milliseconds
      base.width = canvas.width; base.height = canvas.height;
      const c = base.getContext("2d"), image = c.createImageData(base.width, base.height), out = image.data;
      const [r, g, b] = style("--pool").split(",").map(Number), dark = matchMedia("(prefers-color-scheme: dark)").matches;
      const size = Math.max(1, Math.round(dpr * Math.min(8, (points.n < 500 ? 7 : points.n < 5000 ? 3 : 1.5) * Math.sqrt(zoom))));
      const first = points.n < 5000 ? 170 : points.n < 30000 ? 120 : 90, more = points.n < 5000 ? 40 : points.n < 30000 ? 20 : 12;
      const half = size >> 1, hues = new Map();
      for (let i = 0; i < points.n; i++) {
        if (points.n < 500 && visible(i)) continue; // its mark stands there
        const x = Math.round(px(i) * dpr) - half, y = Math.round(py(i) * dpr) - half;
        if (x < 0 || y < 0 || x + size > base.width || y + size > base.height) continue;
        let colour = [r, g, b];
        if (byVolume) {
          colour = hues.get(points.of[i]);
          if (!colour) hues.set(points.of[i], (colour = hue((points.of[i] * 0.61803398875) % 1, dark)));
        }
        for (let v = 0; v < size; v++) for (let u = 0; u < size; u++) {
          const at = 4 * ((y + v) * base.width + x + u);
          out[at] = colour[0]; out[at + 1] = colour[1]; out[at + 2] = colour[2];
          out[at + 3] = out[at + 3] ? Math.min(255, out[at + 3] + more) : first;
        }
      }
      c.putImageData(image, 0, 0);
    }

    function hue(h, dark) {
      const f = (n) => { const k = (n + 12 * h) % 12; return Math.round(255 * ((dark ? 0.62 : 0.42) - 0.3 * Math.max(-1, Math.min(k - 3, 9 - k, 1)))); };
      return [f(0), f(8), f(4)];
    }

    function marks() {
      const c = canvas.getContext("2d");
      c.setTransform(1, 0, 0, 1, 0, 0);
      c.clearRect(0, 0, canvas.width, canvas.height);
      c.drawImage(base, 0, 0);
      c.setTransform(dpr, 0, 0, dpr, 0, 0);
      const edge = style("--edge");
      for (const bit of about.order) { // the later ones lie above
        if (!shown[bit]) continue;
        const [kind, colour] = look(bit), many = about.counts[bit] > 3000, r = kind === "." ? (many ? 1.6 : 4) : many ? 3 : kind === "D" ? 8 : 6;
        c.fillStyle = colour; c.strokeStyle = edge; c.lineWidth = 1.2;
        for (const i of marked) {
          if (!(points.marks[i] & (1 << bit))) continue;
          const x = px(i), y = py(i);
          if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
          shape(c, kind, x, y, r);
          c.fill();
          if (!many) c.stroke();
        }
      }
      if (current >= 0) {
        c.strokeStyle = style("--text"); c.lineWidth = 2;
        c.beginPath(); c.arc(px(current), py(current), 10, 0, 7); c.stroke();
      }
    }

    function draw() {
      const least = canvas.clientWidth < 600 ? 280 : 430; // a flat map needs no high canvas
      canvas.style.height = Math.max(least, Math.min(560, Math.round(canvas.clientWidth * about.aspect) + 40)) + "px";
      const box = canvas.getBoundingClientRect();
      dpr = Math.min(2, window.devicePixelRatio || 1);
      width = box.width; height = box.height;
      if (!width || !height) return; // not laid out yet: the observer calls again
      canvas.width = Math.round(width * dpr); canvas.height = Math.round(height * dpr);
      pool(); marks();
    }

    function nearest(x, y) { // a patch with a picture, or a mark, wins over one that lies a little nearer
      let best = -1, least = 14 * 14;
      for (let i = 0; i < points.n; i++) {
        const u = px(i) - x, v = py(i) - y;
        let d = u * u + v * v;
        if (d >= least + 40) continue;
        if (shots.has(i)) d -= 25;
        if (points.marks[i]) d -= 15;
        if (d < least) { least = d; best = i; }
      }
      return best;
    }

    function words(i) {
      const what = about.marks.filter((_, bit) => points.marks[i] & (1 << bit));
      const at = "z " + points.start[3 * i] + "  y " + points.start[3 * i + 1] + "  x " + points.start[3 * i + 2];
      return { name: about.names[points.of[i]], at, what: what.join(", ") || "not marked", note: about.notes[i] || "" };
    }

    function show(i, speak) {
      if (i === current && !tip.hidden) return;
      current = i;
      canvas.dataset.at = i < 0 ? "" : Math.round(px(i)) + "," + Math.round(py(i));
      marks();
      if (i < 0) { tip.hidden = true; return; }
      const told = words(i), name = document.createElement("b"), rows = [];
      name.textContent = told.name;
      if (shots.has(i)) {
        const shot = document.createElement("div"), tile = shots.get(i), k = 128;
        shot.className = "shot";
        shot.setAttribute("role", "img");
        shot.setAttribute("aria-label", "middle slice of this patch");
        shot.style.backgroundSize = about.columns * k + "px auto";
        shot.style.backgroundPosition = -(tile % about.columns) * k + "px " + -Math.floor(tile / about.columns) * k + "px";
        rows.push(shot);
      }
      rows.push(name);
      for (const text of [told.at, told.what, told.note, shots.has(i) ? "" : "no picture kept"]) {
        if (!text) continue;
        const line = document.createElement("div");
        line.textContent = text;
        rows.push(line);
      }
      tip.replaceChildren(...rows);
      tip.hidden = false;
      const x = px(i), y = py(i), w = tip.offsetWidth, h = tip.offsetHeight;
      tip.style.left = Math.max(4, Math.min(width - w - 4, x + 16 + w > width ? x - w - 16 : x + 16)) + "px";
      tip.style.top = Math.max(4, Math.min(height - h - 4, y - h / 2)) + "px";
      if (speak) said.textContent = [told.name, told.at, told.what, told.note].filter(Boolean).join(", ");
    }

    function scale(factor, x, y) {
      const before = zoom;
      zoom = Math.max(1, Math.min(60, zoom * factor));
      panX += (x - width / 2) * (1 / zoom - 1 / before);
      panY += (y - height / 2) * (1 / zoom - 1 / before);
      if (zoom === 1) panX = panY = 0;
      pool(); marks();
    }

    function reset() { zoom = 1; panX = panY = 0; show(-1); pool(); marks(); }

    let dragged = null, turned = 0;
    canvas.addEventListener("pointermove", (e) => {
      const box = canvas.getBoundingClientRect();
      if (dragged) {
        panX += (e.clientX - dragged[0]) / zoom; panY += (e.clientY - dragged[1]) / zoom;
        dragged = [e.clientX, e.clientY];
        tip.hidden = true;
        cancelAnimationFrame(turned);
        turned = requestAnimationFrame(() => { pool(); marks(); });
        return;
      }
      show(nearest(e.clientX - box.left, e.clientY - box.top), false);
    });
    canvas.addEventListener("pointerdown", (e) => {
      if (e.pointerType === "mouse" && zoom > 1) { dragged = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); }
    });
    canvas.addEventListener("pointerup", () => { dragged = null; });
    canvas.addEventListener("pointercancel", () => { dragged = null; });
    canvas.addEventListener("pointerleave", () => show(-1));
    canvas.addEventListener("wheel", (e) => { // the page scrolls unless the map has the focus
      if (document.activeElement !== canvas) return;
      e.preventDefault();
      const box = canvas.getBoundingClientRect();
      scale(e.deltaY < 0 ? 1.25 : 0.8, e.clientX - box.left, e.clientY - box.top);
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
      const seen = marked.filter(visible);
      if (e.key in steps && seen.length) {
        const at = seen.indexOf(current), next = at < 0 ? (steps[e.key] > 0 ? 0 : seen.length - 1) : (at + steps[e.key] + seen.length) % seen.length;
        show(seen[next], true);
      } else if (e.key === "+" || e.key === "=") scale(1.5, width / 2, height / 2);
      else if (e.key === "-") scale(1 / 1.5, width / 2, height / 2);
      else if (e.key === "0") reset();
      else if (e.key === "Escape") show(-1);
      else return;
      e.preventDefault();
    });
    const press = (id, does) => document.getElementById(id).addEventListener("click", does);
    press("closer", () => scale(1.5, width / 2, height / 2));
    press("farther", () => scale(1 / 1.5, width / 2, height / 2));
    press("whole", reset);
    document.getElementById("volumes-in-colour").addEventListener("change", (e) => { byVolume = e.target.checked; pool(); marks(); });
    about.marks.forEach((name, bit) => {
      const box = document.getElementById("mark-" + bit);
      if (box) box.addEventListener("change", () => { shown[bit] = box.checked; pool(); marks(); });
    });
    function swatches() {
      for (const small of document.querySelectorAll("canvas[data-bit]")) {
        const [kind, colour] = look(Number(small.dataset.bit)), c = small.getContext("2d");
        small.width = small.height = 32;
        c.scale(2, 2);
        c.fillStyle = colour; c.strokeStyle = style("--edge"); c.lineWidth = 1;
        shape(c, kind, 8, 8, 5.5); c.fill(); c.stroke();
      }
    }
    new ResizeObserver(draw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { swatches(); draw(); });
    draw(); swatches();
  }
})();
