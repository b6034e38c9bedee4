"use strict";

// Theme: the system's, then light, then dark.
const root = document.documentElement;
const theme = document.getElementById("theme");
const themes = ["system", "light", "dark"];
theme.hidden = false;
theme.addEventListener("click", () => {
  const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  theme.textContent = `Theme: ${next}`;
});

// Sorting: each heading becomes a button; rows without a number stay at the end.
function key(cell) {
  return cell.dataset.order === undefined ? cell.textContent.trim() : Number(cell.dataset.order);
}

function sortRows(table, column, direction) {
  const body = table.tBodies[0];
  const numbers = [...body.rows].some((row) => row.cells[column].dataset.order !== undefined);
  const rows = [...body.rows].map((row) => ({ row, value: key(row.cells[column]) }));
  rows.sort((one, other) => {
    if (numbers) {
      const [a, b] = [one.value, other.value].map((value) => typeof value !== "number");
      if (a || b) return a - b;
      return direction * (one.value - other.value);
    }
    return direction * one.value.localeCompare(other.value, "en", { numeric: true });
  });
  body.append(...rows.map(({ row }) => row));
  table.classList.add("sorted");
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    if (heading.dataset.unsorted !== undefined) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      sortRows(table, column, falling ? -1 : 1);
    });
  });
}

// Filters: by part of a name, and by kind.
for (const filters of document.querySelectorAll(".filters")) {
  const target = document.getElementById(filters.dataset.for);
  const items = [...(target.tBodies ? target.tBodies[0].rows : target.children)];
  const [input, output] = [filters.querySelector("input"), filters.querySelector("output")];
  const chips = [...filters.querySelectorAll("[aria-pressed]")];
  const apply = () => {
    const wanted = input.value.trim().toLowerCase();
    const off = chips.filter((chip) => chip.getAttribute("aria-pressed") === "false");
    const kinds = new Set(off.map((chip) => chip.dataset.kind));
    let shown = 0;
    for (const item of items) {
      const named = item.dataset.name.toLowerCase().includes(wanted);
      item.hidden = !named || kinds.has(item.dataset.kind);
      shown += !item.hidden;
    }
    output.textContent = shown < items.length ? `${shown} of ${items.length}` : "";
  };
  filters.hidden = false;
  input.addEventListener("input", apply);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
      apply();
    });
  }
  for (const button of filters.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => {
      for (const item of items) item.open = button.dataset.open === "true";
    });
  }
}

// A link into folded details opens them.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.hidden = false;
    target.scrollIntoView();
  }
}
window.addEventListener("hashchange", openTarget);
openTarget();

// The section being read is marked in the list of sections.
const links = new Map();
for (const link of document.querySelectorAll("nav a")) links.set(link.hash.slice(1), link);
const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.classList.remove("here");
      links.get(entry.target.id)?.classList.add("here");
    }
  },
  { rootMargin: "-10% 0px -80% 0px" },
);
for (const section of document.querySelectorAll("main > section")) watcher.observe(section);
