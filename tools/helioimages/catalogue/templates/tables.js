// Tables that people sort, and the changes of two builds that they filter, group and take along. No data of its own.
"use strict";
window.helioTables = (() => {
  const UNITS = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
  // A figure is what its cell begins with, with the unit that `core/words.py` writes; no figure is less than all.
  function figure(text) {
    const found = /^(?:\+|at least )?([\d.,]+)(?:\s+(B|kB|MB|GB|TB)\b)?/.exec(text);
    return found ? Number(found[1].replaceAll(",", "")) * (UNITS[found[2]] ?? 1) : -1;
  }
  const cellText = (row, at) => row.cells[at].textContent.trim();
  function sort(head) {
    const table = head.closest("table"), at = head.cellIndex, body = table.tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending" || (!head.ariaSort && head.classList.contains("num"));
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = head.classList.contains("num")
      ? (a, b) => figure(cellText(a, at)) - figure(cellText(b, at))
      : (a, b) => cellText(a, at).localeCompare(cellText(b, at), "en");
    body.append(...[...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
  }
  // Versions have an order that pages do not know, so a column of them is `fixed`, as is what has none.
  function sortable(root) {
    for (const head of root.querySelectorAll("table:not([data-sortable]) thead th:not(.fixed)")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(head));
    }
    for (const table of root.querySelectorAll("table")) table.dataset.sortable = "";
  }
  sortable(document);

  // --- changes: rows of [what, name, from, to, kind, why] --------------------------------------------------------------
  const escaped = (text) => text.replace(/[|\\`*_<>]/g, "\\$&");
  function markdown(title, groups) {
    const lines = [`### ${title}`];
    for (const [name, rows] of groups) {
      if (name) lines.push("", `#### ${name}`);
      lines.push("", "| Change | Package | From | To | Kind | Why |", "|---|---|---|---|---|---|");
      for (const row of rows) lines.push(`| ${row.map((text) => escaped(text || "–")).join(" | ")} |`);
    }
    return lines.join("\n") + "\n";
  }
  // What a row belongs to: the words of a choice, and of it.
  const GROUPS = [["", "nothing", () => ""], ["change", "change", (row) => row[0]], ["kind", "kind", (row) => row[4]],
    ["reason", "reason", (row) => row[5] || "no reason known"]];
  function changes(box, { title, rows, make }) {
    const tools = document.createElement("div");
    tools.className = "tools";
    tools.innerHTML = `<label for="change-filter">Filter</label><input id="change-filter" type="search" autocomplete="off"
      placeholder="name, kind, reason"><span class="pair"><label for="change-group">Group by</label> <select id="change-group"></select></span>
      <button type="button" class="copy" id="change-markdown">Copy as Markdown</button>
      <span id="change-count" class="soft" role="status"></span>`;
    const list = document.createElement("div");
    box.append(tools, list);
    const [input, select, button, counter] = ["filter", "group", "markdown", "count"].map((id) => tools.querySelector(`#change-${id}`));
    select.append(...GROUPS.map(([value, text]) => new Option(text, value)));
    // What is asked for first, then what that draws in; what nobody can tell is the last.
    const places = ["asked for", "", "no reason known"];
    const place = (name) => (places.includes(name) ? places.indexOf(name) : 1);
    const inOrder = (found) => (select.value === "reason"
      ? [...found].sort(([one], [other]) => place(one) - place(other) || one.localeCompare(other, "en")) : [...found]);
    const run = () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const shown = rows.filter((row) => wanted.every((word) => row.join(" ").toLowerCase().includes(word)));
      const by = GROUPS.find(([value]) => value === select.value)[2], found = new Map();
      for (const row of shown) found.set(by(row), [...(found.get(by(row)) ?? []), row]);
      const groups = inOrder(found);
      list.replaceChildren(...groups.flatMap(([name, its]) => {
        // What a heading says of its rows they need not say again.
        const made = make(name ? `${title}: ${name}` : title, its, name && select.value === "reason" ? 5 : 6);
        if (!name) return [made];
        const heading = document.createElement("h3");
        heading.textContent = `${name} (${its.length})`;
        return [heading, made];
      }));
      sortable(list);
      counter.textContent = wanted.length ? `${shown.length} of ${rows.length}` : "";
      button.dataset.text = markdown(title, groups);
    };
    input.addEventListener("input", run);
    select.addEventListener("change", run);
    run();
  }
  return { sortable, changes };
})();
