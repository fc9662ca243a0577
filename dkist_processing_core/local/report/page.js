"use strict";
(() => {
  const find = (selector, root = document) => root.querySelector(selector);
  const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];
  const rows = findAll("#timeline .row");
  const nodes = findAll("#graph .node");
  const names = rows.map((row) => row.dataset.name);
  const graph = find("#graph");
  const detail = find("#detail");
  const known = new Map();
  let chosen = -1;
  document.documentElement.classList.add("with-script");

  const SIGNS = { success: "\u2713", failed: "\u2715", up_for_retry: "\u21bb", upstream_failed: "\u2298", interrupted: "\u25a0", running: "\u25b6" };
  const sign = (state) => SIGNS[state] || "\u25cb";

  /** Make an element. A text is only ever the text of an element, so nothing in it becomes code. */
  function make(tag, options = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null) made.setAttribute(name, value);
    }
    made.append(...children.filter((each) => each !== null));
    return made;
  }

  const badge = (state) =>
    make("span", { class: `badge ${state || "not_run"}` }, `${sign(state)} ${state || "not run"}`);

  function time(seconds) {
    if (seconds === null) return "";
    if (seconds < 0.001) return `${Math.round(seconds * 1e6)} \u00b5s`;
    if (seconds < 1) return `${Number((seconds * 1e3).toPrecision(3))} ms`;
    if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
    const whole = Math.round(seconds);
    const two = (number) => String(number).padStart(2, "0");
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
    return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  }

  function size(bytes) {
    let number = bytes;
    for (const unit of ["B", "K", "M", "G"]) {
      if (number < 1000) return `${unit === "B" || number >= 10 ? Math.round(number) : number.toFixed(1)} ${unit}`;
      number /= 1024;
    }
    return `${number.toFixed(1)} T`;
  }

  const fact = (name, value, isWide = false) =>
    value === "" || value === null
      ? null
      : make("div", { class: isWide && "wide" }, make("dt", {}, name), make("dd", {}, ...[value].flat()));

  function taskLinks(others) {
    return others.map((name) => {
      const number = names.indexOf(name);
      if (number < 0) return `${name} `;
      const state = data(number).state;
      const button = make("button", { type: "button", class: `link ${state || "not_run"}`, onclick: () => choose(number, { focus: "detail" }) });
      button.append(make("span", { class: "sign" }, sign(state)), ` ${name}`);
      return button;
    });
  }

  function data(number) {
    if (!known.has(number)) known.set(number, JSON.parse(find(`#task-${number}`).textContent));
    return known.get(number);
  }

  function showTask(task, index) {
    const one = task.tries[index];
    const children = [make("h2", {}, task.name), badge(task.state)];
    if (task.doc) children.push(make("p", { class: "doc" }, task.doc));
    if (task.tries.length > 1) {
      const buttons = task.tries.map((each, number) =>
        make(
          "button",
          { type: "button", class: each.state || "not_run", "aria-pressed": number === index ? "true" : "false", onclick: () => { showTask(task, number); findAll(".tries button", detail)[number].focus(); } },
          make("span", { class: "sign" }, sign(each.state)),
          ` Try ${each.number}`,
        ),
      );
      children.push(make("div", { class: "tries", role: "group", "aria-label": "Tries" }, ...buttons));
    }
    const facts = make("dl", { class: "facts" });
    const add = (...entries) => facts.append(...entries.filter((each) => each !== null));
    if (one) {
      const share = one.seconds ? ` (${Math.round((100 * one.cpu_seconds) / one.seconds)} %)` : "";
      add(
        task.tries.length > 1 ? fact("State of the try", one.state || "not run") : null,
        fact("Started", `${one.started.slice(11, 19)} UTC`),
        fact("Duration", time(one.seconds)),
        fact("CPU time", one.cpu_seconds === null ? "" : time(one.cpu_seconds) + share),
        fact("Peak memory", one.peak_memory_bytes === null ? "" : size(one.peak_memory_bytes)),
        fact("Exit status", one.exit_status === null ? "" : String(one.exit_status)),
      );
    }
    add(fact("Queue", task.queue), fact("Retries allowed", String(task.retries)));
    if (one) add(fact("Ran in", `${one.executor}: ${one.environment}`, true));
    add(
      fact("Class", make("code", {}, task.class), true),
      task.upstreams.length ? fact("Upstreams", taskLinks(task.upstreams), true) : null,
      task.downstreams.length ? fact("Downstreams", taskLinks(task.downstreams), true) : null,
    );
    if (one) children.push(...error(one), facts, ...spans(one), ...log(one));
    else children.push(facts, make("p", { class: "muted" }, "The task was not started in this run."));
    detail.replaceChildren(...children);
    detail.scrollTop = 0;
  }

  function error(one) {
    if (!one.summary && !one.error) return [];
    const box = make("div", { class: "error", id: "error" });
    if (one.summary) box.append(make("p", {}, one.summary));
    if (one.error && one.error !== one.summary) box.append(make("pre", {}, one.error));
    return [make("h3", {}, "Error"), box];
  }

  function spans(one) {
    const heading = make("h3", {}, "Spans");
    if (!one.spans) return [heading, make("p", { class: "muted" }, "This try has no file of spans: it was killed, or its library does not write one.")];
    const recorded = one.spans.spans;
    const total = Math.max(1e-6, one.spans.seconds, ...recorded.map((each) => each.start + (each.seconds || 0)));
    const opened = new Map();
    recorded.forEach((each, number) => {
      if (!opened.has(each.parent)) opened.set(each.parent, []);
      opened.get(each.parent).push(number);
    });
    const list = (parent) => make("ul", { class: parent === null && "spans" }, ...(opened.get(parent) || []).map(item));
    function item(number) {
      const each = recorded[number];
      const what = make("span", { class: "what" }, each.name);
      const attributes = Object.entries(each.attributes).map(([name, value]) => `${name}=${value}`);
      if (each.type !== "code.core" && each.type !== "code.custom") attributes.unshift(each.type);
      if (attributes.length) what.append(make("span", { class: "attributes mono" }, attributes.join("  ")));
      for (const [name, values] of each.events || []) {
        const texts = Object.entries(values).map(([key, value]) => `${key}=${value}`);
        what.append(make("span", { class: "attributes mono" }, `\u2022 ${name} ${texts.join("  ")}`));
      }
      if (each.error) what.append(make("span", { class: "trouble" }, each.error));
      const length = each.seconds === null ? total - each.start : each.seconds;
      const bar = make("i", {});
      bar.style.left = `${Math.min(99, (100 * each.start) / total)}%`;
      bar.style.width = `${(100 * length) / total}%`;
      const line = [what, make("span", { class: "of-time" }, bar), make("span", { class: "took" }, each.seconds === null ? "not ended" : time(each.seconds))];
      const state = each.error ? "failed" : false;
      if (!opened.has(number)) return make("li", { class: state }, make("div", { class: "leaf" }, ...line));
      return make("li", {}, make("details", { open: "" }, make("summary", { class: state }, ...line), list(number)));
    }
    const made = [heading, recorded.length ? list(null) : make("p", { class: "muted" }, "None.")];
    if (one.spans.left_out) made.push(make("p", { class: "muted" }, `${one.spans.left_out} more are not shown.`));
    return made;
  }

  function log(one) {
    const heading = make("h3", {}, "Log");
    if (!one.log) {
      const why = one.executor === "in_process" ? "The task ran in the process of the command, which showed its log." : "This try has no log.";
      return [heading, make("p", { class: "muted" }, why)];
    }
    const lines = one.log.records.map(([level, text]) => make("pre", { class: level, "data-level": level }, text));
    const counts = new Map();
    for (const [level] of one.log.records) counts.set(level, (counts.get(level) || 0) + 1);
    const hidden = new Set();
    const filter = make("input", { type: "search", "aria-label": "Show lines with this text", placeholder: "Filter", spellcheck: "false", oninput: apply });
    function apply() {
      const text = filter.value.toLowerCase();
      for (const line of lines) line.hidden = hidden.has(line.dataset.level) || !line.textContent.toLowerCase().includes(text);
    }
    const boxes = [...counts].map(([level, count]) => {
      const box = make("input", { type: "checkbox", checked: "", "data-of": level, onchange: () => { box.checked ? hidden.delete(level) : hidden.add(level); apply(); } });
      return make("label", {}, box, ` ${level} ${count}`);
    });
    const before = one.log.left_out_bytes;
    return [
      heading,
      make("div", { class: "log-tools" }, ...boxes, filter, make("code", { class: "muted" }, one.log_file)),
      before ? make("p", { class: "muted" }, `Only the end is shown; ${size(before)} before it are in the file.`) : null,
      make("div", { class: "log", tabindex: "0", role: "region", "aria-label": "Log" }, ...(lines.length ? lines : [make("pre", { class: "muted" }, "The log is empty.")])),
    ].filter((each) => each !== null);
  }

  /** Show a task; the element of it in the list that was used gets the focus. */
  function choose(number, { focus = "" } = {}) {
    chosen = number;
    for (const each of [...rows, ...nodes]) {
      const isChosen = Number(each.dataset.task) === number;
      each.classList.toggle("chosen", isChosen);
      each.setAttribute("tabindex", isChosen ? "0" : "-1");
      isChosen ? each.setAttribute("aria-current", "true") : each.removeAttribute("aria-current");
      if (isChosen) scrollTo(each);
    }
    for (const each of findAll("#graph .edge")) {
      each.classList.toggle("chosen", [each.dataset.from, each.dataset.to].includes(String(number)));
    }
    const task = data(number);
    showTask(task, task.tries.length - 1);
    if (focus === "detail") detail.focus();
    else if (focus) (focus === "graph" ? nodes : rows).find((each) => Number(each.dataset.task) === number)?.focus({ preventScroll: true });
    try {
      history.replaceState(null, "", `#task=${encodeURIComponent(task.name)}`);
    } catch {
      // Where the address cannot be changed it stays as it is.
    }
  }

  /** Scroll the box around an element, and not the page, which may show what is being looked at. */
  function scrollTo(element) {
    const box = element.closest(".scroll, .rows");
    const inner = element.getBoundingClientRect();
    const outer = box.getBoundingClientRect();
    if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
    if (inner.left < outer.left || inner.right > outer.right) box.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
  }

  for (const each of rows) each.addEventListener("click", () => choose(Number(each.dataset.task), { focus: "rows" }));
  for (const each of nodes) each.addEventListener("click", () => choose(Number(each.dataset.task), { focus: "graph" }));

  find("#timeline").addEventListener("keydown", (event) => {
    const shown = rows.filter((each) => !each.hidden);
    const at = shown.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    if (shown[to]) choose(Number(shown[to].dataset.task), { focus: "rows" });
  });

  graph.addEventListener("keydown", (event) => {
    const from = event.target.closest(".node");
    if (!from) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(Number(from.dataset.task), { focus: "detail" });
    }
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    // From layer to layer to the nearest one there, and within a layer to the next one.
    const isAcross = (graph.dataset.direction === "down") === (way[0] !== 0);
    let best = null;
    let least = Infinity;
    for (const each of nodes) {
      const x = each.dataset.x - from.dataset.x;
      const y = each.dataset.y - from.dataset.y;
      const ahead = x * way[0] + y * way[1];
      const aside = Math.abs(x * way[1]) + Math.abs(y * way[0]);
      const far = 1e5 * Math.round(ahead) + aside;
      if (ahead > 1 && (!isAcross || aside < 1) && far < least) [best, least] = [each, far];
    }
    if (best) choose(Number(best.dataset.task), { focus: "graph" });
  });

  find("#find").addEventListener("input", (event) => {
    const text = event.target.value.toLowerCase();
    for (const each of rows) each.hidden = !each.dataset.name.toLowerCase().includes(text);
  });

  const box = find("#graph-box");
  const natural = Number(graph.dataset.width);
  let zoom = 1;
  function setZoom(factor) {
    zoom = Math.min(2, Math.max(0.1, factor));
    graph.setAttribute("width", natural * zoom);
  }
  const fitting = (least) => Math.min(1, Math.max(least, (box.clientWidth - 4) / natural));
  find("#smaller").addEventListener("click", () => setZoom(zoom / 1.25));
  find("#larger").addEventListener("click", () => setZoom(zoom * 1.25));
  find("#fit").addEventListener("click", () => setZoom(fitting(0.1)));
  setZoom(fitting(0.7));

  function chooseByAddress() {
    const asked = /^#task=(.*)$/.exec(location.hash);
    let number = -1;
    try {
      if (asked) number = names.indexOf(decodeURIComponent(asked[1]));
    } catch {
      // It is no name of a task.
    }
    if (number >= 0 && number !== chosen) choose(number);
    return number >= 0;
  }
  addEventListener("hashchange", chooseByAddress);
  if (!chooseByAddress() && rows.length) {
    const first = (state) => rows.findIndex((each) => each.classList.contains(state));
    choose([first("failed"), first("interrupted"), first("running"), 0].find((each) => each >= 0));
  }
})();
