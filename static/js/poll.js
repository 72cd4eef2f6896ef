/* Fetches a fragment every 2 s until it says `data-poll-done`, for at most 10 minutes. */
const EVERY_MS = 2000;
const STOP_AFTER_MS = 10 * 60 * 1000;

function watch(region) {
  const startedAt = performance.now();
  const step = async () => {
    if (performance.now() - startedAt > STOP_AFTER_MS) return;
    if (!document.hidden) {
      try {
        const answer = await fetch(region.dataset.poll, { headers: { Accept: "text/html" } });
        if (answer.ok && !answer.redirected) {
          const html = (await answer.text()).trim();
          if (html !== region.dataset.seen) {
            region.dataset.seen = html;
            region.innerHTML = html;
          }
          if (region.querySelector("[data-poll-done]")) return;
        }
      } catch { /* the next step tries again */ }
    }
    setTimeout(step, EVERY_MS);
  };
  setTimeout(step, EVERY_MS);
}

document.querySelectorAll("[data-poll]").forEach(watch);
