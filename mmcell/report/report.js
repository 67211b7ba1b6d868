"use strict";
// Sorts and filters tables, and lists what long parts hold. Without it every table is whole, in the order of the page.
(() => {
  const missing = new Set(["", "–", "-"]);
  const compare = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;

  // The cells of rows by the columns that they span: a list of columns per row.
  function grid(rows) {
    const found = rows.map(() => []);
    rows.forEach((row, i) => {
      let at = 0;
      for (const cell of row.cells) {
        while (found[i][at]) at += 1;
        for (let down = 0; down < cell.rowSpan && i + down < rows.length; down += 1) {
          for (let along = 0; along < cell.colSpan; along += 1) found[i + down][at + along] = cell;
        }
        at += cell.colSpan;
      }
    });
    return found;
  }

  // The first thing that a cell says: its exact value, or the first line of its text.
  function said(cell) {
    if (!cell) return "";
    const exact = cell.querySelector("data");
    if (exact) return exact.value;
    const name = cell.querySelector(".name");
    return (name || cell).innerText.trim().split("\n")[0].trim();
  }

  function numeric(text) {
    const found = /^[+−-]?[\d\u202f]+(\.\d+)?(e[+−-]?\d+)?(?=[\s%[*,]|$)/i.exec(text.replace(/^×\s*/, ""));
    return found ? Number(found[0].replace(/\u202f/g, "").replace(/−/g, "-")) : NaN;
  }

  // Heads of parts of a table stay above their part.
  const isHead = (row) => row.classList.contains("panel");

  function sortable(table, bodies, original) {
    const heads = grid([...table.tHead.rows]);
    const last = heads[heads.length - 1] || [];
    const buttons = [];
    last.forEach((head, column) => {
      if (head.colSpan > 1 || !head.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      if (head.querySelector("a")) {
        // A link stays one: the button stands beside it.
        button.setAttribute("aria-label", `Sort by ${head.textContent.trim()}`);
      } else {
        button.append(...head.childNodes);
      }
      head.append(button);
      buttons.push([head, button]);
      button.addEventListener("click", () => {
        const numbers = head.classList.contains("n");
        // What is largest is first, but for ranks and for what is better the lower.
        const down = numbers && head.dataset.first !== "ascending";
        const order = down ? ["descending", "ascending", ""] : ["ascending", "descending", ""];
        const next = order[(order.indexOf(head.getAttribute("aria-sort") || "") + 1) % order.length];
        for (const [other] of buttons) other.removeAttribute("aria-sort");
        if (next) head.setAttribute("aria-sort", next);
        bodies.forEach((body, i) => {
          const rows = original[i].filter((row) => !isHead(row));
          if (next) {
            const cells = new Map(rows.map((row) => [row, said(grid([row])[0][column])]));
            const sign = next === "ascending" ? 1 : -1;
            const key = (row) => (numbers ? numeric(cells.get(row)) : cells.get(row));
            const lacks = (row) => (numbers ? Number.isNaN(key(row)) : missing.has(key(row)));
            // What has no value is last either way.
            rows.sort((a, b) => {
              if (lacks(a) || lacks(b)) return lacks(a) - lacks(b);
              return sign * (numbers ? key(a) - key(b) : compare(key(a), key(b)));
            });
          }
          body.append(...original[i].filter(isHead), ...rows);
        });
      });
    });
  }

  function filterable(table, bodies, number) {
    const box = document.createElement("div");
    const label = document.createElement("label");
    const field = document.createElement("input");
    const count = document.createElement("span");
    const rows = bodies.flatMap((body) => [...body.rows].filter((row) => !isHead(row)));
    const texts = new Map(
      bodies.flatMap((body) => {
        const head = [...body.rows].filter(isHead).map((row) => row.textContent).join(" ");
        return [...body.rows].map((row) => [row, `${row.textContent} ${head}`.toLowerCase()]);
      }),
    );
    box.className = "filter";
    field.type = "search";
    field.id = `filter-${number}`;
    field.autocomplete = "off";
    label.htmlFor = field.id;
    label.textContent = "Filter rows";
    const what = table.closest("[aria-label]");
    if (what) field.setAttribute("aria-label", `Filter rows: ${what.getAttribute("aria-label")}`);
    count.setAttribute("role", "status");
    // Paper that lacks rows says so.
    const paper = document.createElement("span");
    paper.className = "onpaper";
    box.append(label, field, paper, count);
    (table.closest(".scroll") || table).before(box);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) row.hidden = !words.every((word) => texts.get(row).includes(word));
      for (const body of bodies) {
        const own = [...body.rows];
        const none = own.every((row) => isHead(row) || row.hidden);
        for (const row of own.filter(isHead)) row.hidden = none;
      }
      box.classList.toggle("on", words.length > 0);
      paper.textContent = words.length ? `Rows with “${words.join(" ")}” only: ` : "";
      count.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
    });
  }

  // A long part lists what is in it, with links, below its head.
  function outlined(part, number) {
    const title = part.querySelector("h2");
    const heads = [...part.querySelectorAll("h3")];
    if (!title || heads.length < 3) return;
    const nav = document.createElement("nav");
    nav.className = "outline";
    nav.setAttribute("aria-label", `Parts of: ${title.textContent.trim()}`);
    heads.forEach((head, i) => {
      head.id = head.id || `part-${number}-${i + 1}`;
      const link = document.createElement("a");
      link.href = `#${head.id}`;
      link.textContent = head.textContent.trim();
      nav.append(link);
    });
    title.after(nav);
  }

  document.querySelectorAll(".task").forEach((part, i) => outlined(part, i + 1));

  let number = 0;
  for (const table of document.querySelectorAll("table")) {
    const bodies = [...table.tBodies];
    const rows = bodies.flatMap((body) => [...body.rows]);
    const own = rows.filter((row) => !isHead(row));
    const tied = rows.some((row) => [...row.cells].some((cell) => cell.rowSpan > 1));
    if (!table.tHead || tied || own.length < 2 || table.classList.contains("pictures")) continue;
    sortable(table, bodies, bodies.map((body) => [...body.rows]));
    if (own.length > 5 && !table.closest("figure")) filterable(table, bodies, (number += 1));
  }
})();
