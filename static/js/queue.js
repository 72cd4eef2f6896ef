/* The review queue by keyboard: j and k move, a approves, h opens the draft at its reason. */
const rows = () => [...document.querySelectorAll("[data-queue] > tr")];
const linkOf = (row) => row.querySelector("th a");

function move(step) {
  const all = rows();
  const here = all.findIndex((row) => row.contains(document.activeElement));
  const next = here < 0 ? 0 : Math.min(Math.max(here + step, 0), all.length - 1);
  linkOf(all[next])?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  const row = event.target.closest("[data-queue] > tr");
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "a" && row) row.querySelector("button[value=approve]")?.click();
  else if (event.key === "h" && row) location.assign(`${linkOf(row).href}#reason`);
});
