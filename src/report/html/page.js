"use strict";
// Draws the page's charts from the JSON beside it, as SVG, so that they print sharp and follow the theme.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("tacho-theme"); } catch { return null; } };
  const theme = (name) => { root.dataset.theme = name; };
  theme(stored() || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => { if (!stored()) theme(dark.matches ? "dark" : "light"); });
  document.getElementById("theme").addEventListener("click", () => {
    const next = root.dataset.theme === "dark" ? "light" : "dark";
    theme(next);
    try { localStorage.setItem("tacho-theme", next); } catch { /* a page from a file may have no storage */ }
  });
  // On paper everything is open.
  addEventListener("beforeprint", () => document.querySelectorAll("details:not(.data)").forEach((d) => { d.open = true; }));

  const SVG = "http://www.w3.org/2000/svg";
  const W = 640, H = 380, L = 66, R = 14, T = 12, B = 46;
  const make = (name, attributes, parent, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const colour = (index) => `var(--c${index % 7})`;
  const show = (v) => {
    if (v === null || v === undefined) return "–";
    const a = Math.abs(v);
    if (a !== 0 && (a >= 1e7 || a < 1e-3)) return v.toExponential(2);
    return v.toLocaleString("en", { maximumSignificantDigits: a >= 1000 ? Math.ceil(Math.log10(a)) : 4, useGrouping: false });
  };

  // Ticks at 1, 2 and 5 times powers of ten.
  const ticks = (low, high, log, want) => {
    const out = [];
    if (log) {
      const decades = Math.log10(high / low);
      if (decades > 0.7) {
        const steps = decades > 4 ? [1] : decades > 1.5 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
        for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
          for (const s of steps) { const t = s * 10 ** p; if (t >= low * 0.9999 && t <= high * 1.0001) out.push(t); }
        return out;
      }
    }
    const rough = (high - low) / want, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= rough) || rough;
    for (let t = Math.ceil(low / step) * step, n = 0; t <= high + step * 1e-9 && n < 60; t += step, n++) out.push(+t.toPrecision(12));
    return out;
  };

  const shape = (index, x, y, parent) => {
    const fill = { fill: colour(index), class: "mark" };
    switch (index % 4) {
      case 0: return make("circle", { cx: x, cy: y, r: 4.5, ...fill }, parent);
      case 1: return make("rect", { x: x - 4.5, y: y - 4.5, width: 9, height: 9, ...fill }, parent);
      case 2: return make("path", { d: `M${x} ${y - 6}l5.5 9.5h-11z`, ...fill }, parent);
      default: return make("path", { d: `M${x} ${y - 6}l6 6l-6 6l-6-6z`, ...fill }, parent);
    }
  };

  // The same shape hollow, and a cross through it: a point that is not to be believed.
  const crossed = (index, x, y, parent) => {
    const mark = shape(index, x, y, parent);
    for (const [key, value] of Object.entries({ fill: "var(--paper)", stroke: colour(index), "stroke-width": 1.8 })) mark.setAttribute(key, value);
    make("path", { class: "cross", d: `M${x - 7} ${y - 7}l14 14m0 -14l-14 14` }, parent);
  };
  const joined = (d) => !d[5] && d[6] === undefined;
  const invalid = (s) => s.dots.length > 0 && s.dots.every((d) => d[6] !== undefined);

  let clips = 0;
  const tip = document.getElementById("tip");
  const hideTip = () => { tip.hidden = true; };

  const draw = (figure, chart) => {
    const host = figure.querySelector(".plot"), legend = figure.querySelector(".legend");
    const hidden = new Set();
    const bars = chart.series.some((s) => s.mark === "stacked");
    const named = chart.x.categories.length > 0;
    let zoom = null, svg, sx, sy, spots = [], at = -1, cursor;
    const clip = `clip${clips++}`;

    const extent = () => {
      let x0 = Infinity, x1 = -Infinity;
      for (const s of chart.series) for (const d of s.dots) { x0 = Math.min(x0, d[0]); x1 = Math.max(x1, d[0]); }
      if (named) return [-0.6, chart.x.categories.length - 0.4];
      if (chart.x.log) { const f = x0 === x1 ? 2 : (x1 / x0) ** 0.05; return [x0 / f, x1 * f]; }
      const m = x0 === x1 ? 1 : (x1 - x0) * 0.05;
      return [x0 - m, x1 + m];
    };
    const full = extent();

    const render = () => {
      const [x0, x1] = zoom || full;
      const shown = chart.series.map((s, i) => [s, i]).filter(([, i]) => !hidden.has(i));
      let y0 = Infinity, y1 = -Infinity;
      const stack = new Map();
      for (const [s] of shown) for (const d of s.dots) {
        if (d[0] < x0 || d[0] > x1) continue;
        if (s.mark === "stacked") { const t = (stack.get(d[0]) || 0) + d[1]; stack.set(d[0], t); y1 = Math.max(y1, t); y0 = 0; continue; }
        y0 = Math.min(y0, d[2] ?? d[1]); y1 = Math.max(y1, d[3] ?? d[1]);
      }
      if (!isFinite(y0)) { y0 = chart.y.log ? 1 : 0; y1 = 1; }
      if (chart.y.log) { const f = Math.max((y1 / y0) ** 0.06, 1.1); y0 /= f; y1 *= f; }
      else { y0 = Math.min(0, y0); y1 = y1 > 0 ? y1 + (y1 - y0) * 0.06 : 1; }
      const place = (low, high, log, from, to) => log
        ? (v) => from + (Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low)) * (to - from)
        : (v) => from + (v - low) / (high - low) * (to - from);
      sx = place(x0, x1, chart.x.log, L, W - R);
      sy = place(y0, y1, chart.y.log, H - B, T);

      svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "application", tabindex: 0, "aria-roledescription": "chart",
        "aria-label": `${chart.title}. ${chart.y.label} over ${chart.x.label}. ${chart.series.length} lines. Arrow keys go from mark to mark, plus and minus zoom, 0 shows all.` });
      const defs = make("defs", {}, svg);
      make("rect", { x: L, y: T, width: W - L - R, height: H - T - B }, make("clipPath", { id: clip }, defs));
      const grid = make("g", { "aria-hidden": "true" }, svg);
      for (const t of ticks(y0, y1, chart.y.log, 7)) {
        const y = sy(t);
        make("line", { class: "grid", x1: L, x2: W - R, y1: y, y2: y }, grid);
        make("text", { x: L - 7, y: y + 4, "text-anchor": "end" }, grid, show(t));
      }
      let values = named ? chart.x.categories.map((_, i) => i) : [...new Set(chart.series.filter((s) => s.mark !== "limit").flatMap((s) => s.dots.map((d) => d[0])))].filter((v) => v >= x0 && v <= x1).sort((a, b) => a - b);
      if (!named && (values.length > 12 || values.length < 2 || zoom || !values.every(Number.isInteger))) values = ticks(x0, x1, chart.x.log, 8);
      let last = -Infinity;
      for (const t of values) {
        const x = sx(t), label = named ? chart.x.categories[t] : show(t), room = label.length * 6.6 + 10;
        if (x < L - 1 || x > W - R + 1) continue;
        make("line", { class: "grid", x1: x, x2: x, y1: T, y2: H - B }, grid);
        if (x - last < room) continue;
        last = x;
        make("text", { x: Math.min(x, W - label.length * 3.2), y: H - B + 16, "text-anchor": "middle" }, grid, label);
      }
      make("rect", { class: "frame", x: L, y: T, width: W - L - R, height: H - T - B }, grid);
      make("text", { class: "axis-name", x: (L + W - R) / 2, y: H - 8, "text-anchor": "middle" }, grid, chart.x.label);
      make("text", { class: "axis-name", transform: `translate(13 ${(T + H - B) / 2}) rotate(-90)`, "text-anchor": "middle" }, grid, chart.y.label);

      const plot = make("g", { "clip-path": `url(#${clip})`, "aria-hidden": "true" }, svg);
      spots = [];
      stack.clear();
      const width = bars ? Math.min(60, (sx(1) - sx(0)) * 0.72) : 0;
      for (const [s, index] of shown) {
        const stroke = { stroke: colour(index), fill: "none" };
        const path = (dots, y) => dots.map((d, i) => `${i ? "L" : "M"}${sx(d[0]).toFixed(1)} ${y(d).toFixed(1)}`).join("");
        const curve = s.mark === "line" && invalid(s), line = curve ? s.dots : s.dots.filter(joined);
        if (s.mark === "band") {
          const up = path(line, (d) => sy(d[3] ?? d[1])), down = path([...line].reverse(), (d) => sy(d[2] ?? d[1]));
          make("path", { d: `${up}${down.replace("M", "L")}Z`, fill: colour(index), opacity: 0.22 }, plot);
        }
        if (["joined", "line", "band"].includes(s.mark)) make("path", { d: path(line, (d) => sy(d[1])), "stroke-width": s.mark === "band" ? 1.2 : 2, "stroke-dasharray": curve ? "2 5" : "none", ...stroke }, plot);
        if (s.mark === "limit") make("path", { d: path(line, (d) => sy(d[1])), "stroke-width": 2, "stroke-dasharray": "7 5", ...stroke }, plot);
        for (const d of s.dots) {
          const x = sx(d[0]);
          if (s.mark === "stacked") {
            const below = stack.get(d[0]) || 0, top = sy(below + d[1]);
            make("rect", { x: x - width / 2, y: top, width, height: Math.max(0, sy(below) - top), fill: colour(index), opacity: d[6] === undefined ? 1 : 0.3 }, plot);
            if (d[6] !== undefined) make("path", { class: "cross", d: `M${x - width / 2} ${top}L${x + width / 2} ${sy(below)}M${x + width / 2} ${top}L${x - width / 2} ${sy(below)}` }, plot);
            stack.set(d[0], below + d[1]);
            spots.push({ x, y: (top + sy(below)) / 2, s, index, d });
            continue;
          }
          const y = sy(d[1]);
          if (s.mark === "joined" || s.mark === "dots") {
            if (d[2] != null) {
              const [low, high] = [sy(d[2]), sy(d[3])];
              make("path", { d: `M${x} ${low}V${high}M${x - 5} ${low}h10M${x - 5} ${high}h10`, "stroke-width": 1.3, ...stroke }, plot);
            }
            if (d[6] !== undefined) crossed(index, x, y, plot);
            else shape(index, x, y, plot);
            if (d[5] && d[6] === undefined) make("circle", { cx: x, cy: y, r: 2.5, fill: "var(--paper)" }, plot);
          }
          if (s.mark !== "limit" && x >= L - 1 && x <= W - R + 1) spots.push({ x, y, s, index, d });
        }
      }
      cursor = make("circle", { class: "cursor", r: 9, cx: -99, cy: -99 }, svg);
      wire();
      host.replaceChildren(svg);
    };

    const words = ({ s, d }) => {
      const x = named ? chart.x.categories[d[0]] : `${chart.x.label}: ${show(d[0])}`;
      const interval = d[2] != null ? ` (${show(d[2])} … ${show(d[3])})` : "";
      const label = d[4] && !s.label.includes(d[4]) ? ` · ${d[4]}` : "";
      return `${s.label}${label} — ${x}; ${chart.y.label}: ${show(d[1])}${interval}${d[5] ? "; not usable" : ""}${d[6] === undefined ? "" : `; INVALID, not to be believed: ${chart.invalid[d[6]]}`}`;
    };
    const point = (index) => {
      const spot = spots[index];
      if (!spot) return;
      at = index;
      cursor.setAttribute("cx", spot.x);
      cursor.setAttribute("cy", spot.y);
      tip.textContent = words(spot);
      tip.hidden = false;
      const box = svg.getBoundingClientRect(), scale = box.width / W;
      const x = box.left + spot.x * scale, y = box.top + spot.y * scale;
      const left = Math.max(6, Math.min(x + 12, innerWidth - tip.offsetWidth - 6));
      const above = y - tip.offsetHeight - 14;
      tip.style.left = `${left}px`;
      tip.style.top = `${above > 4 ? above : y + 16}px`;
    };
    const away = () => { hideTip(); cursor.setAttribute("cx", -99); };
    const invert = (px) => {
      const [x0, x1] = zoom || full, share = (px - L) / (W - R - L);
      return chart.x.log ? x0 * (x1 / x0) ** share : x0 + (x1 - x0) * share;
    };
    const zoomTo = (range) => {
      const focused = document.activeElement === svg;
      zoom = range; at = -1; hideTip();
      render();
      if (focused) svg.focus();
    };
    const zoomBy = (factor) => {
      const a = invert(L + (W - L - R) * (1 - factor) / 2), b = invert(W - R - (W - L - R) * (1 - factor) / 2);
      zoomTo(factor > 1 && (a <= full[0] || b >= full[1]) ? null : [a, b]);
    };

    const wire = () => {
      let from = null, box = null;
      const where = (event) => {
        const r = svg.getBoundingClientRect();
        return [(event.clientX - r.left) * W / r.width, (event.clientY - r.top) * H / r.height];
      };
      svg.addEventListener("pointerdown", (event) => {
        if (named || event.button !== 0) return;
        from = where(event)[0];
        if (event.pointerType === "mouse") svg.setPointerCapture(event.pointerId);
      });
      svg.addEventListener("pointermove", (event) => {
        const [x, y] = where(event);
        if (from !== null && event.pointerType === "mouse" && Math.abs(x - from) > 4) {
          away();
          box = box || make("rect", { class: "select", y: T, height: H - T - B }, svg);
          box.setAttribute("x", Math.max(L, Math.min(x, from)));
          box.setAttribute("width", Math.min(W - R, Math.max(x, from)) - Math.max(L, Math.min(x, from)));
          return;
        }
        let best = -1, least = 50 * 50;
        spots.forEach((spot, index) => {
          const far = (spot.x - x) ** 2 + (spot.y - y) ** 2;
          if (far < least) { least = far; best = index; }
        });
        if (best < 0) away(); else point(best);
      });
      svg.addEventListener("pointerup", (event) => {
        const x = where(event)[0], start = from;
        from = null;
        if (box) {
          const [a, b] = [Math.min(x, start), Math.max(x, start)].map((v) => invert(Math.max(L, Math.min(W - R, v))));
          if (b > a) zoomTo([a, b]);
        }
      });
      svg.addEventListener("pointerleave", away);
      svg.addEventListener("blur", away);
      svg.addEventListener("dblclick", () => zoomTo(null));
      svg.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step && spots.length) point((at + step + spots.length) % spots.length);
        else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
          if (!spots.length) return;
          const here = spots[Math.max(at, 0)], others = [...new Set(spots.map((s) => s.index))];
          const next = others[(others.indexOf(here.index) + (event.key === "ArrowDown" ? 1 : others.length - 1)) % others.length];
          let best = -1;
          spots.forEach((s, i) => { if (s.index === next && (best < 0 || Math.abs(s.x - here.x) < Math.abs(spots[best].x - here.x))) best = i; });
          point(best);
        } else if (event.key === "Home") point(0);
        else if (event.key === "End") point(spots.length - 1);
        else if ((event.key === "+" || event.key === "=") && !named) zoomBy(0.6);
        else if (event.key === "-" && !named) zoomBy(1 / 0.6);
        else if (event.key === "0") zoomTo(null);
        else if (event.key === "Escape") away();
        else return;
        event.preventDefault();
      });
    };

    chart.series.forEach((s, index) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const sample = make("svg", { width: 26, height: 12, "aria-hidden": "true" });
      if (s.mark === "stacked") make("rect", { x: 5, y: 0, width: 14, height: 12, fill: colour(index) }, sample);
      else {
        const marked = s.mark === "joined" || s.mark === "dots", none = invalid(s);
        const dashes = s.mark === "limit" ? "6 4" : none ? "2 5" : "none";
        if (s.mark !== "dots" && !(none && marked)) make("path", { d: "M0 6h26", stroke: colour(index), "stroke-width": 2, "stroke-dasharray": dashes }, sample);
        if (marked) (none ? crossed : shape)(index, 13, 6, sample);
      }
      const name = document.createElement("span");
      name.textContent = invalid(s) ? `${s.label} (INVALID)` : s.label;
      button.append(sample, name);
      button.addEventListener("click", () => {
        if (hidden.has(index)) hidden.delete(index); else hidden.add(index);
        button.setAttribute("aria-pressed", String(!hidden.has(index)));
        at = -1;
        render();
      });
      item.append(button);
      legend.append(item);
    });

    const data = figure.querySelector(".data");
    data.addEventListener("toggle", () => {
      const space = data.querySelector(".scroll");
      if (!data.open || space.firstChild) return;
      const table = document.createElement("table"), head = table.createTHead().insertRow();
      for (const text of ["line", chart.x.label, chart.y.label, "low", "high", "what"]) {
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.textContent = text;
        head.append(cell);
      }
      const body = table.createTBody();
      for (const s of chart.series) for (const d of s.dots) {
        const row = body.insertRow();
        const x = named ? chart.x.categories[d[0]] : show(d[0]);
        const what = d[6] === undefined ? d[4] || "" : `${d[4] || ""} INVALID: ${chart.invalid[d[6]]}`.trim();
        for (const text of [s.label, x, show(d[1]), show(d[2]), show(d[3]), what]) row.insertCell().textContent = text;
      }
      space.append(table);
    });
    render();
  };

  const charts = JSON.parse(document.getElementById("data").textContent);
  const byId = new Map(charts.map((chart) => [`chart-${chart.id}`, chart]));
  const figures = document.querySelectorAll(".chart");
  // A chart is drawn when it comes near the screen: a page with many opens at once.
  if (!("IntersectionObserver" in window)) figures.forEach((figure) => draw(figure, byId.get(figure.id)));
  else {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); drawOnce(entry.target); }
    }, { rootMargin: "600px" });
    const drawn = new Set();
    const drawOnce = (figure) => { if (!drawn.has(figure)) { drawn.add(figure); draw(figure, byId.get(figure.id)); } };
    figures.forEach((figure) => seen.observe(figure));
    addEventListener("beforeprint", () => figures.forEach(drawOnce));
  }
  addEventListener("scroll", hideTip, { passive: true });
})();
