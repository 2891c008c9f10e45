// The pages work without this file; it adds copying, searching and comparing. No server: data come as a script.
"use strict";
(() => {
  const page = document.body.dataset.page, up = document.body.dataset.up;
  const $ = (id) => document.getElementById(id);

  // --- data ---------------------------------------------------------------------------------------------------------
  const loading = new Map();
  function load(path, read) {
    if (!loading.has(path)) {
      loading.set(path, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = up + path;
        script.onload = () => done(read());
        script.onerror = () => { say(`${path} cannot be read`); failed(new Error(path)); };
        document.head.append(script);
      }));
    }
    return loading.get(path);
  }
  const contents = () => load("data/contents.js", () => unpack(window.helioContents));
  const deltas = (id) => load(`data/deltas/${id}.js`, () => window.helioDeltas[id]);
  // Each entry's list is a difference from the entry before; see `catalogue.model.columns`.
  function unpack(data) {
    let rows = new Set();
    for (const entry of data.entries) {
      const [removed, added] = entry.packages;
      rows = new Set(rows);
      for (const row of removed) rows.delete(row);
      for (const row of added) rows.add(row);
      entry.rows = [...rows].sort((a, b) => a - b);
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
  // One name is written scikit-learn and scikit_learn.
  const plain = (text) => text.toLowerCase().replaceAll("_", "-");
  const words = (text) => plain(text).split(/\s+/).filter(Boolean);
  function filter(input, rows, text, counter, what) {
    const run = () => {
      const wanted = words(input.value);
      let shown = 0;
      rows.forEach((row, at) => {
        const hit = wanted.every((word) => plain(text[at]).includes(word));
        row.hidden = !hit;
        shown += hit;
      });
      counter.textContent = wanted.length ? `${shown} of ${count(rows.length, what)}` : count(rows.length, what);
    };
    input.addEventListener("input", run);
    run();
  }

  // --- comparing: what `buildimages delta` found, as data; see `catalogue.comparison.packed` ---------------------------
  // A line of a build's file, and the rows of builds for which it holds: first, last, first, last, ...
  const holds = (runs, at) => runs.some((first, index) => index % 2 === 0 && first <= at && at <= runs[index + 1]);
  function compare(data, id) {
    const at = data.from.findIndex((row) => row[0] === id);
    if (at < 0) return null;
    const [, label, bytes, pulled, unpackBytes, unpacked, shared, summary, notes] = data.from[at];
    return {
      label, bytes, pulled, unpackBytes, unpacked, shared, summary, notes,
      pull: data.pull.filter((row) => holds(row.slice(2), at)),
      changes: data.changes.flatMap(([what, name, kind, after, rows, why]) =>
        rows.filter((row) => holds(row.slice(1), at)).map(([before]) => [what, name, before, after, kind, why])),
    };
  }
  function total(big, small, share) {
    const made = element("div", { class: "total" }, element("b", {}, big), element("span", {}, small));
    if (share !== undefined) {
      made.append(element("div", { class: "share", "aria-hidden": "true" }, element("i", { style: `width:${share * 100}%` })));
    }
    return made;
  }
  const banner = (kind, text) => element("div", { class: `banner ${kind}`, role: "note" }, element("p", {}, text));
  function show(data, from, to) {
    const found = data && compare(data, from), box = $("result");
    if (!found) {
      box.replaceChildren(banner("warn", "These two are not compared here: the site holds the deltas between an image's newest builds, and from the newest build of each other image. `buildimages delta A B` compares any two."));
      return;
    }
    const title = (id, label) => element("a", { href: `tags/${id}.html` }, label);
    const parts = [element("h2", {}, "From ", title(from, found.label), " to ", title(to, data.label))];
    if (data.yanked) parts.push(banner("bad", "The second image is yanked; hubs should not start it."));
    const summary = element("div", { class: "totals" },
      total(size(found.bytes), `to pull in ${count(found.pulled, "layer")}, of ${size(data.size)} in ${data.layers}`, data.size ? found.bytes / data.size : 0),
      total(size(found.unpackBytes), `to unpack in ${count(found.unpacked, "layer")}; dockerd's classic store pulls these again`),
      total(String(found.shared), `${found.shared === 1 ? "layer is" : "layers are"} there already`));
    summary.dataset.pull = found.bytes;
    summary.dataset.layers = found.pulled;
    parts.push(summary);
    const left = element("section", {}, element("h2", {}, "Packages"));
    for (const note of found.notes) left.append(element("p", { class: "soft" }, `${note}.`));
    if (found.summary) left.append(element("p", {}, found.summary));
    if (found.changes.length) {
      helioTables.changes(left, {
        title: "Packages that changed", rows: found.changes.map((row) => [...row.slice(0, 4), KIND[row[4]], row[5]]),
        make: (caption, rows, shown) => table(caption, [["Change"], ["Package"], ["From", "fixed"], ["To", "fixed"], ["Kind"], ["Why"]].slice(0, shown),
          rows.map((row) => row.slice(0, shown).map((text) => text || "–"))),
      });
    }
    const right = element("section", {}, element("h2", {}, "Layers to pull"));
    if (found.pull.length) {
      right.append(table("Layers to pull, the largest first", [["Layer"], ["Download", "num"]],
        found.pull.map(([name, bytes]) => [name || "–", size(bytes)])));
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
    index() {
      const rows = [...document.querySelectorAll("#other-images tbody tr")];
      if (!rows.length) return;
      const packages = JSON.parse($("other-packages").textContent);
      filter($("filter"), rows, rows.map((row, at) => `${row.textContent} ${packages[at]}`.toLowerCase()), $("filter-count"), "image");
    },
    notebooks() {
      const rows = [...document.querySelectorAll("#notebooks tbody tr")];
      if (!rows.length) return;
      const packages = JSON.parse($("notebook-packages").textContent);
      const text = rows.map((row) => `${row.textContent} ${packages[row.dataset.packages]}`.toLowerCase());
      filter($("filter"), rows, text, $("filter-count"), "notebook");
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
      filter($("package-filter"), rows, entry.rows.map((row) => [...data.packages[row].slice(0, 4), data.modules[data.packages[row][1]] ?? ""].join(" ")), $("package-count"), "package");
    },
    compare() {
      const from = $("from"), to = $("to");
      const chosen = (select) => select.selectedOptions[0];
      const go = async (keep, note) => {
        const pair = [from.value, to.value];
        if (!keep) history.replaceState(null, "", `#${pair.join("..")}`);
        const older = [from, to].some((select) => "older" in chosen(select).dataset);
        const data = older ? null : await deltas(pair[1]);
        if (pair[0] !== from.value || pair[1] !== to.value) return;  // Another was chosen while the file came.
        show(data, ...pair);
        if (note) $("result").prepend(note);
      };
      const read = () => {
        const pair = location.hash.slice(1).split("..");
        const known = [from, to].every((select, at) => [...select.options].some((option) => option.value === pair[at]));
        if (known) [from.value, to.value] = pair;
        go(true, !known && pair[0] && banner("warn", "The address names a build that is not in this catalogue. These are others."));
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
      const modules = (key) => (key.endsWith(" wheel") && data.modules[key.slice(0, -" wheel".length)]) || "";
      const texts = new Map([...names.keys()].map((key) => [key, plain(`${key} ${modules(key)}`)]));
      const run = () => {
        const wanted = words(input.value);
        const hits = wanted.length ? [...names.keys()].filter((key) => wanted.every((word) => texts.get(key).includes(word))) : [];
        // Whose name or whose module it is comes before what has it in its name.
        const is = (key) => plain(key).startsWith(wanted[0]) || plain(modules(key)).split(" ").includes(wanted[0]);
        hits.sort((a, b) => (is(b) - is(a)) || a.length - b.length || (a < b ? -1 : 1));
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
            ...(modules(key) ? [element("p", { class: "soft" }, "imported as ", element("code", {}, modules(key).split(" ").slice(0, 6).join(", ")))] : []),
            table(`Versions of ${name}`, [["Version", "fixed"], ["Builds", "num"], ["In"]], lines));
        }));
        helioTables.sortable(box);
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
      const at = (...parts) => "lab/tree/" + parts.filter(Boolean).map(encodeURIComponent).join("/");
      const inside = given.path.split("/");
      // nbgitpuller would keep the .git in the folder's name; the address of a file is no address of its own in there.
      const query = new URLSearchParams({
        repo: given.repo,
        branch: given.branch,
        targetpath: folder,
        urlpath: at(folder, ...inside),
      });
      $("gitpuller-link").textContent = `${given.hub.replace(/\/+$/, "")}/hub/user-redirect/git-pull?${query}`;
      const spec = [given.repo, given.branch].map(encodeURIComponent).join("/");
      const open = new URLSearchParams({ urlpath: at(...inside) });
      $("binder-link").textContent = `${given.binder.replace(/\/+$/, "")}/v2/git/${spec}?${open}`;
    };
    form.addEventListener("input", run);
    form.addEventListener("submit", (event) => event.preventDefault());
    run();
  }
  pages[page]?.();
})();
