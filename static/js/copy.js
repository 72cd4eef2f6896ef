/* Copies the text of `data-copy` and says so: on the button, and to screen readers. */
const live = document.getElementById("live");

async function copy(button) {
  const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
  const label = button.querySelector("[data-label]") ?? button;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(source ? source.textContent : button.dataset.copy);
    label.textContent = button.dataset.done;
  } catch {
    label.textContent = button.dataset.failed;
  }
  if (live) live.textContent = label.textContent;
  setTimeout(() => { label.textContent = before; }, 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy], button[data-copy-from]");
  if (button) copy(button);
});
document.documentElement.classList.add("js");
