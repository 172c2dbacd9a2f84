"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const view = document.getElementById("view");
  const svg = view.querySelector("svg");
  const panel = document.getElementById("panel");
  const parts = [...svg.querySelectorAll(".part")];

  // Data of the net is inserted as text only, never as markup.
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  function drawn(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  function count(n) {
    if (!n) return "";
    for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (n >= size) return (n / size).toPrecision(3) + " " + letter;
    }
    return String(n);
  }
  const bytes = (n) => (n >= 2 ** 20 ? (n / 2 ** 20).toFixed(1) + " MiB" : (n / 2 ** 10).toFixed(1) + " KiB");
  const shape = (s) => (s === null ? "unknown" : s.length ? s.join("×") : "1 value");

  // drawing: move, zoom, fold

  const box = svg.viewBox.baseVal;
  let [x, y, w, h] = [box.x, box.y, box.width, box.height];
  const margin = 20;
  const gutter = 48;
  const turn = 14; // above and below the columns, for the lines between them
  let size = [box.width, box.height]; // of the whole drawing, with margins

  function show() {
    svg.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
    showWindow();
  }

  function ratio() {
    return view.clientHeight / Math.max(view.clientWidth, 1) || 1;
  }

  function whole() {
    w = Math.max(size[0], size[1] / ratio(), 500);
    h = w * ratio();
    x = -w / 2;
    y = -margin - Math.max(0, h - size[1]) / 2;
    show();
  }

  function begin() {
    if ("wraps" in svg.dataset) return whole();
    w = Math.min(Math.max(size[0], 500), 1100);
    h = w * ratio();
    x = -w / 2;
    y = -margin;
    show();
  }

  function zoom(factor, px = 0.5, py = 0.5) {
    const next = Math.min(Math.max(w * factor, 60), 200000);
    const scale = next / w;
    x += w * px * (1 - scale);
    y += h * py * (1 - scale);
    w = next;
    h *= scale;
    show();
  }

  // Repeated blocks that are folded, by number. The part with data-repeats replaces the parts of the block.
  const closed = new Set();

  function isFolded(part) {
    return part.querySelector(":scope > .open").hasAttribute("hidden");
  }

  // Places all visible parts: one stack, or columns that fit the view if the drawing is large.
  function stack() {
    const visible = [];
    for (const part of parts) {
      const within = part.dataset.block ?? part.dataset.repeats;
      const hidden = within !== undefined && closed.has(within) !== "repeats" in part.dataset;
      part.toggleAttribute("hidden", hidden);
      if (hidden) continue;
      const folded = isFolded(part);
      visible.push({
        part,
        width: folded ? 230 : parseFloat(part.dataset.width),
        height: parseFloat(folded ? part.dataset.folded : part.dataset.open),
      });
    }
    const total = visible.reduce((sum, one) => sum + one.height, 0);
    const wraps = "wraps" in svg.dataset && total > Number(svg.dataset.wraps);
    const columns = wraps ? wrapped(visible, total) : [visible];
    const widths = columns.map((column) => Math.max(0, ...column.map((one) => one.width)));
    const width = widths.reduce((sum, one) => sum + one + gutter, -gutter);
    const lines = [];
    let left = -width / 2;
    let highest = 0;
    let before = null;
    columns.forEach((column, i) => {
      const middle = left + widths[i] / 2;
      let at = 0;
      for (const one of column) {
        one.part.setAttribute("transform", `translate(${middle} ${at})`);
        at += one.height;
      }
      if (before && "chained" in column[0].part.dataset) {
        const lane = left - gutter / 2;
        lines.push(drawn("path", { class: "edge", d: `M${before[0]},${before[1]}v${turn}H${lane}V${-turn}H${middle}V0` }));
      }
      before = [middle, at];
      left += widths[i] + gutter;
      highest = Math.max(highest, at);
    });
    svg.querySelector("#links").replaceChildren(...lines);
    size = [Math.max(width, 230) + 2 * margin, highest + 2 * margin + (lines.length ? turn : 0)];
    drawMap();
  }

  // The columns with which the drawing fits the smallest rectangle of the view's shape.
  function wrapped(items, total) {
    const least = Math.max(...items.map((one) => one.height));
    let [best, side] = [[items], Infinity];
    for (let k = 0; k <= 60; k++) {
      const most = least * (total / least) ** (k / 60);
      const columns = [[]];
      let [high, tallest] = [0, 0];
      for (const one of items) {
        if (high && high + one.height > most + 0.1) {
          columns.push([]);
          high = 0;
        }
        columns.at(-1).push(one);
        high += one.height;
        tallest = Math.max(tallest, high);
      }
      const width = columns.reduce((sum, column) => sum + gutter + column.reduce((most, one) => Math.max(most, one.width), 0), 0);
      const needed = Math.max(width, tallest / ratio());
      if (needed < side) [best, side] = [columns, needed];
    }
    return best;
  }

  function fold(part, isClosed) {
    const small = part.querySelector(":scope > .folded");
    if (!small) return;
    part.querySelector(":scope > .open").toggleAttribute("hidden", isClosed);
    small.toggleAttribute("hidden", !isClosed);
  }

  function repeat(block, isClosed) {
    if (isClosed) closed.add(block);
    else closed.delete(block);
  }

  function at(part) {
    return part.getAttribute("transform").match(/-?[\d.]+/g).map(Number);
  }

  function center(node) {
    const part = node.closest(".part");
    if (isFolded(part) || closed.has(part.dataset.block)) {
      fold(part, false);
      repeat(part.dataset.block, false);
      stack();
    }
    const rect = node.querySelector("rect");
    const [left, top] = at(part);
    w = Math.min(w, 1100);
    h = w * ratio();
    x = left + parseFloat(rect.getAttribute("x")) + parseFloat(rect.getAttribute("width")) / 2 - w / 2;
    y = top + parseFloat(rect.getAttribute("y")) + parseFloat(rect.getAttribute("height")) / 2 - h / 2;
    show();
  }

  // minimap: all boxes, and the part of the drawing that is visible as a rectangle

  const map = document.getElementById("minimap");
  const seen = drawn("rect", { class: "window" });

  function drawMap() {
    const [paths, colours] = [new Map(), new Map()];
    for (const part of parts) {
      if (part.hasAttribute("hidden")) continue;
      const [left, top] = at(part);
      const inside = part.querySelector(isFolded(part) ? ":scope > .folded" : ":scope > .open");
      for (const one of inside.querySelectorAll(".box")) {
        const rect = one.querySelector(":scope > rect:last-of-type");
        const look = one.getAttribute("class").replace(/ (hit|chosen)\b/g, "");
        if (!colours.has(look)) colours.set(look, getComputedStyle(rect).stroke);
        const colour = colours.get(look);
        const [rx, ry, rw, rh] = ["x", "y", "width", "height"].map((name) => parseFloat(rect.getAttribute(name)));
        paths.set(colour, (paths.get(colour) ?? "") + `M${rx + left},${ry + top}h${rw}v${rh}h${-rw}z`);
      }
    }
    map.setAttribute("viewBox", `${-size[0] / 2} ${-margin} ${size[0]} ${size[1]}`);
    const scale = Math.min(220 / size[0], 180 / size[1]);
    map.setAttribute("width", Math.max(size[0] * scale, 24));
    map.setAttribute("height", Math.max(size[1] * scale, 24));
    map.replaceChildren(...[...paths].map(([fill, d]) => drawn("path", { fill, d })), seen);
    showWindow();
  }

  // The minimap is hidden while all of the drawing is visible.
  function showWindow() {
    const all = x <= -size[0] / 2 + margin && y <= 1 && x + w >= size[0] / 2 - margin && y + h >= size[1] - 2 * margin - 1;
    map.toggleAttribute("hidden", all);
    for (const [name, value] of Object.entries({ x, y, width: w, height: h })) seen.setAttribute(name, value);
  }

  function moveWindow(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
    [x, y] = [point.x - w / 2, point.y - h / 2];
    show();
  }
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    moveWindow(event);
  });
  map.addEventListener("pointermove", (event) => {
    if (map.hasPointerCapture(event.pointerId)) moveWindow(event);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);

  view.addEventListener("wheel", (event) => {
    event.preventDefault();
    const place = view.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey || !event.shiftKey) {
      zoom(Math.exp(event.deltaY * 0.0015), (event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height);
    } else {
      y += (event.deltaY * h) / place.height;
      show();
    }
  }, { passive: false });

  let pointer = null;
  let moved = false;
  view.addEventListener("pointerdown", (event) => {
    pointer = [event.clientX, event.clientY];
    moved = false;
  });
  view.addEventListener("pointermove", (event) => {
    if (!pointer) return;
    const [dx, dy] = [event.clientX - pointer[0], event.clientY - pointer[1]];
    if (!moved && Math.hypot(dx, dy) < 4) return;
    if (!moved) view.setPointerCapture(event.pointerId);
    moved = true;
    view.classList.add("moving");
    pointer = [event.clientX, event.clientY];
    x -= (dx * w) / view.clientWidth;
    y -= (dy * w) / view.clientWidth;
    show();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    view.addEventListener(name, () => {
      pointer = null;
      view.classList.remove("moving");
    });
  }

  function act(target) {
    const folder = target.closest(".fold, .block, .unrepeat");
    if (folder) {
      const part = folder.closest(".part");
      const { block, repeats } = part.dataset;
      if (repeats !== undefined) repeat(repeats, false);
      else if (folder.classList.contains("refold")) repeat(block, true);
      else fold(part, folder.classList.contains("fold"));
      stack();
      show();
      return true;
    }
    const node = target.closest(".box");
    if (!node) return false;
    choose(Number(node.dataset.layer));
    return true;
  }
  view.addEventListener("click", (event) => {
    if (!moved) act(event.target);
  });

  function key(event) {
    const step = 0.12;
    if (event.key === "Enter" || event.key === " ") {
      if (!act(event.target)) return;
    } else if (event.key === "ArrowDown") y += h * step;
    else if (event.key === "ArrowUp") y -= h * step;
    else if (event.key === "ArrowLeft") x -= w * step;
    else if (event.key === "ArrowRight") x += w * step;
    else if (event.key === "+" || event.key === "=") zoom(0.8);
    else if (event.key === "-") zoom(1.25);
    else if (event.key === "0") whole();
    else return;
    event.preventDefault();
    show();
  }
  view.addEventListener("keydown", key);
  document.addEventListener("keydown", (event) => {
    if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      search.focus();
    } else if (event.key === "n" || event.key === "p") {
      const next = (chosen ?? (event.key === "n" ? -1 : data.layers.length)) + (event.key === "n" ? 1 : -1);
      if (next >= 0 && next < data.layers.length) choose(next, true);
    }
  });

  function all(isClosed) {
    for (const part of parts) {
      fold(part, isClosed);
      if ("repeats" in part.dataset) repeat(part.dataset.repeats, isClosed);
    }
    stack();
    begin();
  }

  // At first, a large drawing shows its repeated blocks folded, and all parts if that is not enough.
  function start() {
    const crowded = "crowded" in svg.dataset;
    for (const part of parts) if (crowded && "repeats" in part.dataset) repeat(part.dataset.repeats, true);
    stack();
    if (crowded && size[0] * size[1] > 6e6) {
      for (const part of parts) fold(part, true);
      stack();
    }
    begin();
  }
  document.getElementById("fold").addEventListener("click", () => all(true));
  document.getElementById("unfold").addEventListener("click", () => all(false));
  document.getElementById("whole").addEventListener("click", whole);
  document.getElementById("closer").addEventListener("click", () => zoom(0.75));
  document.getElementById("farther").addEventListener("click", () => zoom(1.33));

  // search

  const search = document.getElementById("search");
  const hits = document.getElementById("hits");
  let matches = [];
  let current = -1;

  // Layers that match: first the exact name, then names that begin with the words, then names and types that contain them.
  function sorted(words) {
    const exact = search.value.trim();
    const rank = (layer) => {
      const name = layer.name.toLowerCase();
      if (layer.name === exact) return 0;
      if (name === words) return 1;
      if (name.startsWith(words)) return 2;
      if (name.includes(words)) return 3;
      return (name + " " + layer.type.toLowerCase()).includes(words) ? 4 : 5;
    };
    return data.layers
      .map((layer, i) => [rank(layer), i])
      .filter(([one]) => one < 5)
      .sort((a, b) => a[0] - b[0] || a[1] - b[1])
      .map(([, i]) => i);
  }

  function find() {
    const words = search.value.trim().toLowerCase();
    svg.querySelectorAll(".hit").forEach((node) => node.classList.remove("hit"));
    matches = words ? sorted(words) : [];
    current = -1;
    for (const i of matches) node(i)?.classList.add("hit");
    hits.textContent = words ? `${matches.length} matches` : "";
  }
  search.addEventListener("input", () => {
    find();
    if (matches.length) go();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && matches.length) go();
    else if (event.key === "Escape") {
      search.value = "";
      find();
      view.focus();
    }
  });
  function go() {
    current = (current + 1) % matches.length;
    hits.textContent = `${current + 1} of ${matches.length}`;
    choose(matches[current], true);
  }

  // panel of the selected layer

  let chosen = null;
  function node(i) {
    return document.getElementById("n" + data.layers[i].box);
  }

  function choose(i, move = false) {
    svg.querySelectorAll(".chosen").forEach((one) => one.classList.remove("chosen"));
    chosen = i;
    const target = node(i);
    target?.classList.add("chosen");
    if (move && target) center(target);
    fill(data.layers[i]);
    window.dispatchEvent(new CustomEvent("choose", { detail: i }));
  }

  function list(pairs) {
    return make("dl", {}, ...pairs.filter(([, value]) => value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }

  function fill(layer) {
    const content = [
      make("h2", {}, layer.name),
      list([
        ["type", layer.type],
        ["bottoms", layer.bottoms.join(", ")],
        ["tops", layer.tops.join(", ")],
        ["output shape", layer.tops.length ? shape(layer.shape) : ""],
        ["parameters", layer.parameters ? layer.parameters.toLocaleString("en") : ""],
        ["multiply-adds", layer.work ? layer.work.toLocaleString("en") : ""],
        ["receptive field", layer.field ? layer.field.join("×") + " pixels, stride " + layer.stride : ""],
        ["defined at", layer.place],
      ]),
      ...layer.findings.map(finding),
      ...layer.changes.map((text) => make("div", { class: "finding" }, text)),
      ...layer.blobs.flatMap(histogram),
      layer.picture ? make("h3", {}, "Filters") : null,
      layer.picture ? make("img", { src: layer.picture, alt: "The filters of " + layer.name }) : null,
      make("h3", {}, "Prototxt"),
      make("pre", {}, layer.text),
    ];
    panel.replaceChildren(...content.filter((one) => one !== null));
    const others = data.layers.map((one, i) => [one, i]).filter(([one]) => one.box === layer.box && one !== layer);
    if (others.length) {
      panel.append(make("h3", {}, "Other layers of this box"), ...others.map(([one, i]) => make("button", { type: "button", onclick: () => choose(i) }, `${one.name} (${one.type})`)));
    }
    panel.scrollTop = 0;
  }

  function finding(one) {
    return make("div", { class: "finding" }, make("strong", {}, one.code), ` ${one.message} (${one.name})`);
  }

  function histogram(blob, i) {
    const head = make("h3", {}, `Blob ${i}: ${shape(blob.shape)}`);
    if (!blob.bars) return [head];
    const most = Math.max(...blob.bars, 1);
    const bars = make("div", { class: "histogram", role: "img", "aria-label": `Histogram from ${blob.low} to ${blob.high}` },
      ...blob.bars.map((n) => make("i", { style: `height:${(100 * n) / most}%` })));
    const number = (value) => Number(value).toPrecision(4).replace(/\.?0+$/, "");
    return [head, bars,
      make("div", { class: "ends" }, make("span", {}, number(blob.low)), make("span", {}, `mean ${number(blob.mean)}, std ${number(blob.std)}`), make("span", {}, number(blob.high))),
      blob.bad ? make("div", { class: "finding" }, `NaN or infinite values: ${blob.bad}`) : null];
  }

  // tables

  const sections = document.getElementById("sections");
  function section(title, note, ...content) {
    sections.append(make("section", { "aria-label": title }, make("h2", {}, title), note ? make("p", { class: "note" }, note) : null, ...content));
  }

  // A column has a title, a value to sort by, a text to show, and for numbers a maximum for the bars.
  function table(columns, rows) {
    const body = make("tbody");
    const order = { column: -1, up: true };
    const heads = columns.map((column, i) => {
      const head = make("th", { scope: "col", class: column.number ? "number" : "" }, make("button", { type: "button", onclick: () => sort(i) }, column.title));
      return head;
    });
    const lines = rows.map((row) => {
      const cells = columns.map((column) => {
        const cell = make("td", { class: [column.number ? "number" : "", column.wrap ? "wrap" : ""].join(" ").trim() }, column.show(row));
        if (column.total) {
          cell.classList.add("share");
          cell.style.setProperty("--part", (100 * (column.value(row) || 0)) / column.total + "%");
        }
        return cell;
      });
      return make("tr", {}, ...cells);
    });
    function sort(i) {
      order.up = order.column === i ? !order.up : !columns[i].number;
      order.column = i;
      const values = rows.map(columns[i].value);
      const indices = rows.map((_, k) => k).sort((a, b) => {
        const [one, two] = [values[a] ?? -1, values[b] ?? -1];
        const sign = typeof one === "string" || typeof two === "string" ? String(one).localeCompare(String(two), "en", { numeric: true }) : one - two;
        return (order.up ? sign : -sign) || a - b;
      });
      heads.forEach((head, k) => (k === i ? head.setAttribute("aria-sort", order.up ? "ascending" : "descending") : head.removeAttribute("aria-sort")));
      body.replaceChildren(...indices.map((k) => lines[k]));
    }
    body.replaceChildren(...lines);
    return make("div", { class: "scroll", tabindex: "0" }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body));
  }

  function link(i, text) {
    return make("a", { href: "#net", onclick: (event) => {
      event.preventDefault();
      choose(i, true);
      document.getElementById("net").scrollIntoView();
    } }, text);
  }

  // ranges: for each blob a strip of bars, one for each power of two, darker for more values

  function strip(row, axis, limits) {
    const width = 260;
    const at = (power) => (width * (power - axis[0])) / (axis[1] - axis[0]);
    const picture = drawn("svg", { class: "strip", width, height: 16, viewBox: `0 0 ${width} 16`, role: "img", "aria-label": `Values from ${row.low} to ${row.high}` });
    picture.append(drawn("rect", { class: "fits", x: at(limits[1]), y: 0, width: at(limits[2]) - at(limits[1]), height: 16 }));
    const largest = Math.max(...row.bars.map((bar) => bar[2]), 1e-9);
    for (const [low, high, share] of row.bars) {
      const outside = high <= limits[0] || low >= limits[2];
      picture.append(drawn("rect", { class: outside ? "outside" : "inside", x: Math.min(at(low), width - 1.5), y: 3, width: Math.max(at(high) - at(low) + 0.3, 1.5), height: 10, opacity: 0.12 + 0.88 * Math.sqrt(share / largest) }));
    }
    for (const power of limits) picture.append(drawn("path", { class: "limit", d: `M${at(power)},0V16` }));
    return picture;
  }

  function rangesSection(ranges) {
    const number = (value) => (value === 0 ? "0" : Number(value.toPrecision(4)).toString());
    const percent = (value) => (value ? (100 * value).toPrecision(2) / 1 + "%" : "0%");
    const decibels = (value) => (value === null ? "" : value.toFixed(1) + " dB");
    const index = new Map(data.layers.map((layer, i) => [layer.name, i]));
    const [low, high] = ranges.axis;
    section("Ranges for float16 and int8", ranges.text + ` Each strip shows the magnitudes of the nonzero values from 1e${low} to 1e${high}, darker for more values. Its lines are float16's limits: the smallest number 6e-8, the smallest with all digits 6.1e-5, and the largest 65504. Shares are those of the nonzero values that become 0. SNR is the signal-to-noise ratio of int8 with one scale, and with a scale per channel.`, table([
      { title: "layer", value: (row) => row.layer, show: (row) => (index.has(row.layer) ? link(index.get(row.layer), row.layer) : row.layer) },
      { title: "blob", value: (row) => row.what, show: (row) => row.what },
      { title: "from", number: true, value: (row) => row.low, show: (row) => number(row.low) },
      { title: "to", number: true, value: (row) => row.high, show: (row) => number(row.high) },
      { title: "magnitudes", value: (row) => (row.bars.length ? row.bars[row.bars.length - 1][1] : low), show: (row) => strip(row, ranges.axis, ranges.limits) },
      { title: "float16 error", number: true, value: (row) => row.error, show: (row) => (row.error ? row.error.toExponential(1) : "0") },
      { title: "0 in float16", number: true, value: (row) => row.zero, show: (row) => percent(row.zero) },
      { title: "int8 scale", number: true, value: (row) => row.scale, show: (row) => number(row.scale) },
      { title: "0 in int8", number: true, value: (row) => row.int8_zero, show: (row) => percent(row.int8_zero) },
      { title: "int8 SNR", number: true, value: (row) => row.snr, show: (row) => decibels(row.snr) },
      { title: "per channel", number: true, value: (row) => row.channel, show: (row) => decibels(row.channel) },
      { title: "remarks", value: (row) => row.remarks.join(", "), show: (row) => make("span", { class: row.broken ? "wrong" : "" }, row.remarks.join(", ")), wrap: true },
    ], ranges.rows));
  }
  const indexed = data.layers.map((layer, i) => ({ ...layer, i }));

  document.getElementById("title").textContent = data.name;
  document.getElementById("totals").textContent = data.totals;
  const most = (key) => Math.max(...data.layers.map((layer) => layer[key] || 0), 1);

  if (data.changes.length) {
    section("Differences", data.compared, table([
      { title: "layer", value: (row) => row.layer, show: (row) => row.layer },
      { title: "difference", value: (row) => row.text, show: (row) => row.text, wrap: true },
    ], data.changes));
  }
  section("Layers", "Click a heading to sort. Bars compare the parameters, multiply-adds and memory of the layers. Multiply-adds are products of data with parameters.", table([
    { title: "#", number: true, value: (row) => row.i, show: (row) => String(row.i + 1) },
    { title: "layer", value: (row) => row.name, show: (row) => link(row.i, row.name) },
    { title: "type", value: (row) => row.type, show: (row) => row.type },
    { title: "output", value: (row) => (row.shape || []).join("x"), show: (row) => (row.tops.length ? shape(row.shape) : "") },
    { title: "parameters", number: true, total: most("parameters"), value: (row) => row.parameters, show: (row) => count(row.parameters) },
    { title: "multiply-adds", number: true, total: most("work"), value: (row) => row.work, show: (row) => count(row.work) },
    { title: "memory of tops", number: true, total: most("memory"), value: (row) => row.memory, show: (row) => (row.memory ? bytes(row.memory) : "") },
    { title: "receptive field", number: true, value: (row) => (row.field ? row.field[0] : -1), show: (row) => (row.field ? row.field.join("×") : "") },
  ], indexed));
  if (data.findings.length) {
    section("Findings", "Findings of protogen check in the prototxt.", table([
      { title: "line", number: true, value: (row) => row.line, show: (row) => String(row.line) },
      { title: "code", value: (row) => row.code, show: (row) => row.code },
      { title: "layer", value: (row) => row.layer, show: (row) => row.layer },
      { title: "finding", value: (row) => row.message, show: (row) => `${row.message} (${row.name})`, wrap: true },
    ], data.findings));
  } else section("Findings", "protogen check reports no findings.");
  if (data.signals) {
    section("Signals", data.signals.text, make("div", { class: "pictures" }, make("img", { src: data.signals.picture, alt: "Histograms and standard deviations of every layer" })),
      ...data.signals.findings.map((text) => make("div", { class: "finding" }, text)));
  }
  if (data.ranges) rangesSection(data.ranges);
  if (data.pictures.length) {
    section("Upsampling", "Kernels of bilinear Deconvolutions, their profile, and the largest error of each output pixel against exact interpolation, for data from -1 to 1.",
      make("div", { class: "pictures" }, ...data.pictures.map((one) => make("figure", {}, make("img", { src: one.picture, alt: one.text }), make("figcaption", {}, one.text)))));
  }
  if (data.crops.length) {
    section("Crop offsets", "Pixel x of the input is at scale · x + shift in a blob. The two bottoms of a Crop are aligned if the offset is the shift of the first minus the shift of the second.", table([
      { title: "layer", value: (row) => row.layer, show: (row) => link(row.i, row.layer) },
      { title: "offset", value: (row) => row.given, show: (row) => make("span", { class: row.fits ? "" : "wrong" }, row.given) },
      { title: "expected", value: (row) => row.right, show: (row) => row.right },
      { title: "reason", value: (row) => row.why, show: (row) => row.why, wrap: true },
    ], data.crops));
  }
  if (data.places.length) {
    section("Coordinates", "Position of the pixels of each blob: pixel x of the input is at x' = scale · x + shift.", table([
      { title: "blob", value: (row) => row.blob, show: (row) => row.blob },
      { title: "input", value: (row) => row.source, show: (row) => row.source },
      { title: "height", value: (row) => row.height, show: (row) => row.height },
      { title: "width", value: (row) => row.width, show: (row) => row.width },
    ], data.places));
  }
  document.body.append(make("footer", {}, data.made));

  panel.append(make("h2", {}, "No layer selected"), make("p", { class: "note" }, "Click a layer, or search for one. Drag to move, turn the wheel to zoom. Keys: arrows move, + and − zoom, 0 shows the whole net, / searches, n and p select the next and the previous layer, Enter folds and unfolds."));
  start();
  window.addEventListener("resize", () => {
    h = w * ratio();
    show();
  });
  window.addEventListener("beforeprint", () => svg.setAttribute("viewBox", `${-size[0] / 2} ${-margin} ${size[0]} ${size[1]}`));
  window.addEventListener("afterprint", show);

  // For the page of "protogen view", which shows this one in a frame (protogen/viewing/view.js).
  const nameOf = (part) => part.querySelector("[aria-label^=Unfold]")?.getAttribute("aria-label");
  const isShut = (part) => ("repeats" in part.dataset ? closed.has(part.dataset.repeats) : isFolded(part));
  window.report = {
    layers: data.layers,
    choose,
    chosen: () => chosen,
    box: () => [x, y, w, h],
    setBox: (box) => {
      [x, y, w, h] = box;
      show();
    },
    folds: () => parts.map((part) => [nameOf(part), isShut(part)]),
    setFolds: (folds) => {
      const before = new Map(folds.filter(([name]) => name));
      for (const part of parts) {
        const shut = before.get(nameOf(part)) ?? isShut(part);
        if ("repeats" in part.dataset) repeat(part.dataset.repeats, shut);
        else fold(part, shut);
      }
      stack();
    },
  };
})();
