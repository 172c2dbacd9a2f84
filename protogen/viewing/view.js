"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const text = byId("text");
  const right = byId("right");
  const BLOCK = 100; // lines that the browser lays out together
  const EDGE = 60; // pixels at the upper and lower end of the text that do not count as visible

  let state = null; // the last content of the server
  let frame = null; // the frame with the report, after it is loaded
  let shown = 0; // the number of the report in the frame, and of the one that is being loaded
  let loading = 0;
  let lines = []; // the element of each line, and of each finding
  let notes = [];
  let current = -1; // the selected finding
  let quiet = false; // whether a selection in the report leaves the text where it is

  // Texts of the net are inserted as text only, never as markup.
  function make(tag, name, ...children) {
    const node = document.createElement(tag);
    if (name) node.className = name;
    node.append(...children);
    return node;
  }

  // text

  const TOKEN = /(#.*$)|("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?)|([A-Za-z_]\w*(?=\s*[:{]))|([-+]?(?:\d|\.\d)[\w.+-]*)/g;
  const KINDS = ["comment", "string", "key", "number"];

  function coloured(line) {
    const parts = [];
    let at = 0;
    for (const match of line.matchAll(TOKEN)) {
      parts.push(line.slice(at, match.index));
      const kind = KINDS.find((_, i) => match[i + 1] !== undefined);
      parts.push(make("span", kind, match[0]));
      at = match.index + match[0].length;
    }
    parts.push(line.slice(at));
    return parts;
  }

  function write() {
    const findings = new Map();
    state.findings.forEach((one, i) => {
      const at = Math.min(Math.max(one.line, 1), state.lines.length);
      findings.set(at, [...(findings.get(at) || []), [one, i]]);
    });
    lines = [];
    notes = [];
    const blocks = [];
    state.lines.forEach((line, i) => {
      if (i % BLOCK === 0) blocks.push(make("div", "block"));
      const own = findings.get(i + 1) || [];
      const node = make("div", "line", make("i", "", String(i + 1)), make("code", "", ...coloured(line)));
      node.dataset.line = i + 1;
      if (own.length) node.classList.add(own.some(([one]) => one.severity === "error") ? "error" : "warning");
      lines.push(node);
      blocks[blocks.length - 1].append(node, ...own.map(([one, index]) => note(one, index)));
    });
    if (state.findings_left) blocks.unshift(make("p", "rest", `${state.findings_left} more findings are not shown: run protogen check.`));
    if (state.lines_left) blocks.push(make("p", "rest", `The remaining ${state.lines_left} lines are not shown.`));
    text.style.setProperty("--gutter", `${String(lines.length).length + 3}ch`);
    text.replaceChildren(...blocks);
    const errors = state.findings.filter((one) => one.severity === "error").length;
    const warnings = state.findings.length - errors;
    const words = [[errors, "error"], [warnings, "warning"]].filter(([n]) => n).map(([n, word]) => `${n} ${word}${n === 1 ? "" : "s"}`);
    byId("count").textContent = words.join(", ") || (state.problems.length ? "" : "no findings");
    for (const id of ["before", "after"]) byId(id).disabled = !state.findings.length;
  }

  function note(one, index) {
    const node = make("button", `finding ${one.severity}`, make("b", "", one.code), ` ${one.text} (${one.name})`);
    node.type = "button";
    node.addEventListener("click", () => pick(index));
    notes[index] = node;
    return node;
  }

  function problems() {
    byId("problems").hidden = !state.problems.length;
    byId("problems").replaceChildren(...state.problems.map((one) => {
      const node = make("button", one.line ? "" : "plain", one.text);
      node.type = "button";
      if (one.line) {
        node.addEventListener("click", () => reveal(lines[one.line - 1]));
        lines[one.line - 1]?.classList.add("problem");
      }
      return node;
    }));
    if (state.problems.length && state.drawing && !state.current) {
      byId("problems").append(make("p", "", "The drawing is that of the last text without an error."));
    }
    byId("empty").hidden = state.drawing > 0;
  }

  function reveal(node) {
    if (!node) return;
    const [one, all] = [node.getBoundingClientRect(), text.getBoundingClientRect()];
    if (one.top < all.top + EDGE || one.bottom > all.bottom - EDGE) node.scrollIntoView({ block: "center" });
    text.scrollLeft = 0;
  }

  // From layers of the text to layers of the report, and back: by their places if the report is that of
  // this text, otherwise by their names.

  const fresh = () => state.current && shown === state.drawing;

  function reported(layer) {
    const layers = frame.contentWindow.report.layers;
    const place = `:${layer.line}:${layer.column}`;
    return layers.findIndex((one) => (fresh() ? one.place.endsWith(place) : one.name === layer.name));
  }

  function written(i) {
    const one = frame.contentWindow.report.layers[i];
    const place = /:(\d+):(\d+)$/.exec(one.place) || [];
    const isSame = (layer) => layer.line === Number(place[1]) && layer.column === Number(place[2]);
    return state.layers.find((layer) => (fresh() ? isSame(layer) : layer.name === one.name));
  }

  function around(line) {
    return state.layers.findLast((layer) => layer.line <= line && line <= layer.last);
  }

  function mark(layer) {
    for (const node of text.querySelectorAll(".chosen")) node.classList.remove("chosen");
    if (layer) for (let i = layer.line; i <= layer.last; i++) lines[i - 1]?.classList.add("chosen");
  }

  // Select a layer of the text in the report, too.
  function select(layer) {
    mark(layer);
    if (!layer || !frame) return;
    const i = reported(layer);
    say(i < 0 ? `The drawing does not have the layer ${layer.name}.` : "");
    if (i < 0) return;
    quiet = true;
    frame.contentWindow.report.choose(i, true);
    quiet = false;
  }

  function pick(index) {
    const one = state.findings[index];
    notes[current]?.classList.remove("current");
    current = index;
    notes[index].classList.add("current");
    reveal(notes[index]);
    const inside = around(one.line);
    select(one.layer && inside?.name !== one.layer ? state.layers.find((layer) => layer.name === one.layer) || inside : inside);
  }

  text.addEventListener("click", (event) => {
    const line = event.target.closest(".line");
    if (!line || !getSelection().isCollapsed) return;
    const layer = around(Number(line.dataset.line));
    if (layer) select(layer);
  });
  byId("after").addEventListener("click", () => pick((current + 1) % notes.length));
  byId("before").addEventListener("click", () => pick((Math.max(current, 0) + notes.length - 1) % notes.length));

  // Keys of the report that select layers, also while the text has the focus.
  document.addEventListener("keydown", (event) => {
    if (!frame || !["/", "n", "p"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (event.key === "/") frame.contentWindow.focus();
    frame.contentDocument.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, cancelable: true }));
  });

  function chosenInReport(event) {
    const layer = written(event.detail);
    mark(layer);
    if (!quiet && layer) reveal(lines[layer.line - 1]);
  }

  // the report: a new one is loaded behind the old one, and gets its place

  function draw(number) {
    loading = number;
    const next = make("iframe", "next");
    next.title = "The report of the net";
    next.addEventListener("load", () => {
      if (!hookOf(next) || number !== state.drawing) { // the server has a newer one, or has ended
        next.remove();
        if (loading === number) loading = 0;
        return;
      }
      const old = frame;
      frame = next;
      shown = number;
      next.contentWindow.addEventListener("choose", chosenInReport);
      if (old) {
        quiet = true;
        keepPlace(old.contentWindow, next.contentWindow);
        quiet = false;
        old.remove();
      }
      next.classList.remove("next");
      document.body.dataset.drawing = number;
    });
    next.src = `report/${number}`;
    right.append(next);
  }

  function hookOf(one) {
    try {
      return one.contentWindow.report;
    } catch { // the browser shows its own page of an error
      return undefined;
    }
  }

  function keepPlace(old, next) {
    const search = [old, next].map((page) => page.document.getElementById("search"));
    if (search[0].value) {
      search[1].value = search[0].value;
      search[1].dispatchEvent(new Event("input"));
    }
    next.report.setFolds(old.report.folds());
    const chosen = old.report.chosen();
    const same = chosen === null ? -1 : next.report.layers.findIndex((layer) => layer.name === old.report.layers[chosen].name);
    if (same >= 0) next.report.choose(same);
    next.scrollTo(old.scrollX, old.scrollY);
    next.report.setBox(old.report.box());
    const anchor = anchorOf(old, next);
    if (anchor) {
      const [x, y, w, h] = next.report.box();
      const [one, two] = anchor.map((node) => node.getBoundingClientRect());
      const scale = w / next.document.getElementById("view").clientWidth;
      next.report.setBox([x + (two.left - one.left) * scale, y + (two.top - one.top) * scale, w, h]);
    }
    next.document.getElementById("panel").scrollTop = old.document.getElementById("panel").scrollTop;
  }

  // The same box in both drawings: that of the selected layer, or the one nearest to the middle of the view.
  function anchorOf(old, next) {
    const view = old.document.getElementById("view").getBoundingClientRect();
    const distance = (node) => {
      const box = node.getBoundingClientRect();
      if (!box.width) return Infinity;
      return Math.hypot((box.left + box.right - view.left - view.right) / 2, (box.top + box.bottom - view.top - view.bottom) / 2);
    };
    const boxOf = (page, i) => page.document.getElementById("n" + page.report.layers[i].box);
    const chosen = old.report.chosen();
    const nodes = [...old.document.querySelectorAll(".box[data-layer]")].filter((node) => node.id.startsWith("n"));
    const near = nodes.map((node) => [distance(node), Number(node.dataset.layer)]).sort((a, b) => a[0] - b[0]).map(([, i]) => i);
    for (const i of chosen === null ? near : [chosen, ...near]) {
      const same = next.report.layers.findIndex((layer) => layer.name === old.report.layers[i].name);
      const pair = same >= 0 ? [boxOf(old, i), boxOf(next, same)] : [];
      if (pair.length && pair.every((node) => node?.getBoundingClientRect().width)) return pair;
    }
    return null;
  }

  // the server

  function say(words, lost = false) {
    byId("status").textContent = words;
    byId("status").classList.toggle("lost", lost);
  }

  let running = false; // an update is running, and another one is wanted after it
  let wanted = false;
  async function update() {
    wanted = true;
    if (running) return;
    running = true;
    try {
      while (wanted) {
        wanted = false;
        const answer = await fetch("state");
        if (answer.ok) take(await answer.json());
      }
    } catch {
      lose();
    } finally {
      running = false;
    }
  }

  function take(next) {
    if (state && next.version === state.version) return;
    const first = state === null;
    const before = text.querySelector(".chosen")?.getBoundingClientRect().top;
    const scroll = text.scrollTop;
    const place = text.getBoundingClientRect();
    state = next;
    current = -1;
    document.title = `${state.name} - protogen view`;
    byId("name").textContent = state.name;
    write();
    problems();
    text.scrollTop = scroll;
    const report = frame?.contentWindow.report;
    const name = report?.layers[report.chosen() ?? -1]?.name;
    mark(state.layers.find((one) => one.name === name));
    const now = text.querySelector(".chosen")?.getBoundingClientRect().top;
    if (now !== undefined && before >= place.top && before < place.bottom) text.scrollTop += now - before;
    if (!first) say(`Read again at ${new Date().toLocaleTimeString()}.`);
    if (state.drawing && ![shown, loading].includes(state.drawing)) draw(state.drawing);
    document.body.dataset.version = state.version;
  }

  function lose() {
    say("protogen view does not answer.", true);
  }

  let poll = null;
  function startPolling() {
    poll ??= setInterval(async () => {
      try {
        const answer = await fetch("version");
        if (!answer.ok) return;
        say("");
        if ((await answer.json()) !== state?.version) update();
      } catch {
        lose();
      }
    }, 1000);
  }

  function stopPolling() {
    clearInterval(poll);
    poll = null;
  }

  function listen() {
    const events = new EventSource("events");
    events.addEventListener("message", update);
    events.addEventListener("open", () => {
      stopPolling();
      if (byId("status").classList.contains("lost")) say("");
    });
    events.addEventListener("error", startPolling);
    events.addEventListener("end", () => {
      events.close();
      stopPolling();
      say("protogen view has ended.", true);
    });
  }

  new ResizeObserver(() => text.style.setProperty("--visible", `${text.clientWidth}px`)).observe(text);
  update();
  listen();
})();
