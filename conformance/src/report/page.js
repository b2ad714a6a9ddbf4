"use strict";
const filter = document.getElementById("filter");
const search = filter.querySelector("[type=search]");
const boxes = [...filter.querySelectorAll("[type=checkbox]")];
const rows = [...document.querySelectorAll(".matrix tr[data-has]")].map(row => ({
  row, has: row.dataset.has.split(" "), differ: "differ" in row.dataset,
  text: [row.closest("section").id, row.parentNode.querySelector(".group")?.textContent ?? "", row.cells[0].textContent].filter(Boolean).join("/")
    .concat(" ", row.cells[1].textContent).toLowerCase(),
}));
function apply() {
  const wanted = boxes.filter(b => b.checked).map(b => b.value);
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const r of rows) {
    const fits = r.has.some(s => wanted.includes(s)) && (r.differ || !wanted.includes("differ")) && words.every(w => r.text.includes(w));
    r.row.hidden = !fits;
    shown += fits;
  }
  for (const part of document.querySelectorAll(".matrix tbody, section"))
    part.hidden = !part.querySelector("tr[data-has]:not([hidden])");
  document.getElementById("none").hidden = shown > 0;
  filter.querySelector("output").textContent = `${shown} of ${rows.length} cases`;
}
filter.addEventListener("input", apply);
filter.addEventListener("submit", event => event.preventDefault());
// One verdict is unfolded at a time.
const close = but => document.querySelectorAll("details[open]").forEach(d => { if (d !== but) d.open = false; });
document.addEventListener("click", event => close(event.target.closest("details")));
document.addEventListener("keydown", event => { if (event.key === "Escape") close(null); });
apply();
