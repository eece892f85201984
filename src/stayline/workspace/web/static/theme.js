// Light, dark or the system's choice; and the reader's time zone. Both are remembered in cookies, so that the
// server renders the right page at once.
"use strict";
(() => {
  const THEMES = ["auto", "light", "dark"];
  const root = document.documentElement;

  function remember(name, value) {
    document.cookie = `${name}=${encodeURIComponent(value)}; path=/; max-age=31536000; samesite=lax`;
  }

  remember("stayline-zone", Intl.DateTimeFormat().resolvedOptions().timeZone);

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-toggle]")) return;
    const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    root.dataset.theme = next;
    remember("stayline-theme", next);
    for (const word of document.querySelectorAll("[data-theme-word]")) word.textContent = `Theme: ${next}`;
  });
})();
