// The pages work without this file; it adds copying, searching and comparing. No server: data come as a script.
"use strict";
(() => {
  const page = document.body.dataset.page, up = document.body.dataset.up;
  const $ = (id) => document.getElementById(id);

  // --- data ---------------------------------------------------------------------------------------------------------
  let loading = null;
  function contents() {
    loading ??= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = up + "data/contents.js";
      script.onload = () => done(unpack(window.helioContents));
      script.onerror = () => { say("data/contents.js cannot be read"); failed(new Error("no contents")); };
      document.head.append(script);
    });
    return loading;
  }
  // Each entry's lists are differences from the entry before; see `catalogue.columns`.
  function unpack(data) {
    let rows = new Set(), stack = [];
    for (const entry of data.entries) {
      const [removed, added] = entry.packages;
      rows = new Set(rows);
      for (const row of removed) rows.delete(row);
      for (const row of added) rows.add(row);
      entry.rows = [...rows].sort((a, b) => a - b);
      const [head, tail, middle] = entry.layers;
      stack = [...stack.slice(0, head), ...middle, ...stack.slice(stack.length - tail)];
      entry.stack = stack;
    }
    data.byId = new Map(data.entries.map((entry) => [entry.id, entry]));
    return data;
  }

  // --- words --------------------------------------------------------------------------------------------------------
  // As core/words.py says them.
  const UNITS = ["B", "kB", "MB", "GB", "TB"];
  function size(bytes) {
    let value = bytes, unit = 0;
    while (Number(value.toPrecision(3)) >= 1000 && unit + 1 < UNITS.length) [value, unit] = [value / 1000, unit + 1];
    return `${Number(value.toPrecision(3)).toLocaleString("en")} ${UNITS[unit]}`;
  }
  const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
  const SHOWN = 12;  // packages that one search of all builds shows
  const spaced = (parts) => parts.flatMap((part) => [part, " "]);
  const KIND = { wheel: "PyPI", conda: "conda", debian: "Debian" };
  function element(name, options = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(options)) {
      if (key === "class") made.className = value; else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }
  function table(caption, heads, rows) {
    const head = element("tr", {}, ...heads.map(([text, kind]) => element("th", { scope: "col", class: kind ?? "" }, text)));
    const body = element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell, at) =>
      element("td", { class: heads[at][1] ?? "" }, cell)))));
    const made = element("table", { class: "plain" }, element("caption", { class: "hidden" }, caption),
      element("thead", {}, head), body);
    return element("div", { class: "scroll tall", role: "region", "aria-label": caption, tabindex: "0" }, made);
  }
  let quiet = 0;
  function say(text) {
    const box = $("said");
    box.textContent = text;
    box.classList.add("on");
    clearTimeout(quiet);
    quiet = setTimeout(() => box.classList.remove("on"), 1800);
  }

  // --- copying ------------------------------------------------------------------------------------------------------
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Pages from a folder may lack the clipboard's permission.
      const area = element("textarea", { "aria-hidden": "true", style: "position:fixed;opacity:0" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    say("Copied");
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button.dataset.text ?? $(button.dataset.copy).textContent);
  });

  // --- filtering ----------------------------------------------------------------------------------------------------
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
  function filter(input, rows, text, counter, what) {
    const run = () => {
      const wanted = words(input.value);
      let shown = 0;
      rows.forEach((row, at) => {
        const hit = wanted.every((word) => text[at].includes(word));
        row.hidden = !hit;
        shown += hit;
      });
      counter.textContent = wanted.length ? `${shown} of ${count(rows.length, what)}` : count(rows.length, what);
    };
    input.addEventListener("input", run);
    run();
  }

  // --- comparing: sets of rows of the two tables; what they mean is in the data --------------------------------------
  function compare(data, old, to) {
    const have = new Set(old.stack), seen = new Set();
    const pull = to.stack.filter((row) => !have.has(row) && !seen.has(row) && seen.add(row));
    let same = 0;
    while (same < old.stack.length && old.stack[same] === to.stack[same]) same += 1;
    const sum = (rows) => rows.reduce((total, row) => total + data.layers[row][0], 0);
    return {
      pull, unpack: to.stack.slice(same), unpackBytes: sum(to.stack.slice(same)),
      bytes: sum(pull) + (old.config[0] === to.config[0] ? 0 : to.config[1]),
      shared: to.stack.filter((row) => have.has(row)).length, size: sum(to.stack) + to.config[1],
      changes: changes(data, old, to),
    };
  }
  function changes(data, old, to) {
    if (old.source === "none" || to.source === "none") return null;
    // Which rows are one package, and which of two versions is newer, is in the data: see `catalogue.model.columns`.
    const [DOWN, REMOVED, UP, ADDED, REBUILT] = data.words;
    const named = (rows) => new Map(rows.map((row) => [data.packages[row][4], row]));
    const before = named(old.rows), after = named(to.rows), found = [];
    const keys = [...new Set([...before.keys(), ...after.keys()])].sort((a, b) => a - b);
    for (const key of keys) {
      const had = data.packages[before.get(key)], has = data.packages[after.get(key)];
      if (!had) { if (old.complete) found.push([ADDED, has[1], "", has[2], has[0]]); continue; }
      if (!has) { if (to.complete) found.push([REMOVED, had[1], had[2], "", had[0]]); continue; }
      if (had[2] === has[2]) continue;
      const rank = had[0] === has[0] ? 5 : 6, step = has[rank] - had[rank];
      found.push([step < 0 ? DOWN : step > 0 ? UP : REBUILT, has[1], had[2], has[2], has[0]]);
    }
    return found.sort((a, b) => data.words.indexOf(a[0]) - data.words.indexOf(b[0]) || (a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0));
  }
  function total(big, small, share) {
    const made = element("div", { class: "total" }, element("b", {}, big), element("span", {}, small));
    if (share !== undefined) {
      made.append(element("div", { class: "share", "aria-hidden": "true" }, element("i", { style: `width:${share * 100}%` })));
    }
    return made;
  }
  function show(data, old, to) {
    const found = compare(data, old, to), box = $("result");
    const title = (entry) => element("a", { href: `tags/${entry.id}.html` }, `${entry.image} ${entry.tags[0] ?? entry.id}`);
    const parts = [element("h2", {}, "From ", title(old), " to ", title(to))];
    if (to.yanked) {
      parts.push(element("div", { class: "banner bad", role: "note" }, element("p", {}, "The second image is yanked; hubs should not start it.")));
    }
    const summary = element("div", { class: "totals" },
      total(size(found.bytes), `to pull in ${count(found.pull.length, "layer")}, of ${size(found.size)} in ${to.stack.length}`, found.size ? found.bytes / found.size : 0),
      total(size(found.unpackBytes), `to unpack in ${count(found.unpack.length, "layer")}; dockerd's classic store pulls these again`),
      total(String(found.shared), `${found.shared === 1 ? "layer is" : "layers are"} there already`));
    summary.dataset.pull = found.bytes;
    summary.dataset.layers = found.pull.length;
    parts.push(summary);
    const left = element("section", {}, element("h2", {}, "Packages"));
    if (found.changes === null) {
      left.append(element("p", { class: "soft" }, "One of them has no package list, so packages are not compared."));
    } else {
      for (const entry of [old, to].filter((one) => !one.complete)) {
        left.append(element("p", { class: "soft" }, `${entry.image} ${entry.tags[0] ?? ""} lists no packages: only what its history names is compared.`));
      }
      const kinds = [...new Set(found.changes.map((row) => row[0]))];
      left.append(element("p", {}, kinds.map((kind) => `${found.changes.filter((row) => row[0] === kind).length} ${kind}`).join(", ") || (old.complete && to.complete ? "None changed." : "None of those changed.")));
      if (found.changes.length) {
        helioTables.changes(left, {
          title: "Packages that changed", rows: found.changes.map((row) => [...row.slice(0, 4), KIND[row[4]]]),
          make: (caption, rows) => table(caption, [["Change"], ["Package"], ["From", "fixed"], ["To", "fixed"], ["Kind"]],
            rows.map(([what, name, from, now, kind]) => [what, name, from || "–", now || "–", kind])),
        });
      }
    }
    const right = element("section", {}, element("h2", {}, "Layers to pull"));
    if (found.pull.length) {
      const rows = [...found.pull].sort((a, b) => data.layers[b][0] - data.layers[a][0]);
      right.append(table("Layers to pull, the largest first", [["Layer"], ["Download", "num"]],
        rows.map((row) => [data.layers[row][1] || "–", size(data.layers[row][0])])));
    } else {
      right.append(element("p", { class: "soft" }, "None: the node has them all."));
    }
    parts.push(element("div", { class: "two" }, left, right));
    box.replaceChildren(...parts);
    helioTables.sortable(box);
  }

  const pages = {
    image() {
      const rows = [...document.querySelectorAll("#tags tbody tr")];
      filter($("filter"), rows, rows.map((row) => row.textContent.toLowerCase()), $("filter-count"), "build");
    },
    async entry() {
      puller();
      const body = $("package-rows");
      if (!body) return;
      const data = await contents();
      const entry = data.byId.get(document.body.dataset.entry);
      const rows = entry.rows.map((row) => {
        const [kind, name, version, licenses] = data.packages[row];
        return element("tr", {}, ...[name, version, KIND[kind], licenses || "–"].map((text) => element("td", {}, text)));
      });
      body.replaceChildren(...rows);
      filter($("package-filter"), rows, entry.rows.map((row) => data.packages[row].slice(0, 4).join(" ").toLowerCase()), $("package-count"), "package");
    },
    async compare() {
      const data = await contents(), from = $("from"), to = $("to");
      const go = (keep) => {
        show(data, data.byId.get(from.value), data.byId.get(to.value));
        if (!keep) history.replaceState(null, "", `#${from.value}..${to.value}`);
      };
      const read = () => {
        const [a, b] = location.hash.slice(1).split("..");
        const known = data.byId.has(a) && data.byId.has(b);
        if (known) { from.value = a; to.value = b; }
        go(true);
        if (a && !known) {
          $("result").prepend(element("div", { class: "banner warn", role: "note" },
            element("p", {}, "The address names a build that is not in this catalogue. These are others.")));
        }
      };
      from.addEventListener("change", () => go());
      to.addEventListener("change", () => go());
      $("swap").addEventListener("click", () => { [from.value, to.value] = [to.value, from.value]; go(); });
      addEventListener("hashchange", read);
      read();
    },
    async packages() {
      const data = await contents(), input = $("package"), box = $("found");
      const users = new Map();
      data.entries.forEach((entry) => entry.rows.forEach((row) => {
        if (!users.has(row)) users.set(row, []);
        users.get(row).push(entry);
      }));
      const names = new Map();
      data.packages.forEach(([kind, name], row) => {
        const key = `${name} ${kind}`;
        if (!names.has(key)) names.set(key, []);
        names.get(key).push(row);
      });
      const run = () => {
        const wanted = words(input.value);
        const hits = wanted.length ? [...names.keys()].filter((key) => wanted.every((word) => key.toLowerCase().includes(word))) : [];
        hits.sort((a, b) => (b.toLowerCase().startsWith(wanted[0]) - a.toLowerCase().startsWith(wanted[0])) || a.length - b.length || (a < b ? -1 : 1));
        const rest = hits.length > SHOWN ? `, the first ${SHOWN} shown` : "";
        $("package-count").textContent = wanted.length ? `${count(hits.length, "package")} found${rest}` : count(names.size, "package");
        box.replaceChildren(...hits.slice(0, SHOWN).map((key) => {
          const rows = names.get(key).slice().reverse();
          const [kind, name] = data.packages[rows[0]];
          const lines = rows.map((row) => {
            const all = users.get(row) ?? [];
            const links = all.map((entry) =>
              element("a", { href: `tags/${entry.id}.html` }, `${entry.image} ${entry.tags[0] ?? entry.id}`));
            const cell = element("div", { class: "builds" }, ...spaced(links.slice(0, 6)));
            if (links.length > 6) {
              cell.append(element("details", {}, element("summary", {}, `and ${links.length - 6} more`), ...spaced(links.slice(6))));
            }
            return [data.packages[row][2], String(all.length), cell];
          });
          return element("section", {}, element("h2", {}, name, " ", element("span", { class: "tag" }, KIND[kind])),
            table(`Versions of ${name}`, [["Version"], ["Builds", "num"], ["In"]], lines));
        }));
      };
      input.addEventListener("input", () => { history.replaceState(null, "", "#" + encodeURIComponent(input.value)); run(); });
      input.value = decodeURIComponent(location.hash.slice(1));
      run();
    },
  };
  function puller() {
    const form = $("gitpuller");
    const run = () => {
      const given = Object.fromEntries(new FormData(form));
      const folder = given.repo.replace(/\/+$/, "").replace(/\.git$/, "").split("/").pop();
      const path = `lab/tree/${folder}${given.path ? "/" + given.path : ""}`;
      const query = new URLSearchParams({ repo: given.repo, branch: given.branch, urlpath: path });
      $("gitpuller-link").textContent = `${given.hub.replace(/\/+$/, "")}/hub/user-redirect/git-pull?${query}`;
    };
    form.addEventListener("input", run);
    form.addEventListener("submit", (event) => event.preventDefault());
    run();
  }
  pages[page]?.();
})();
