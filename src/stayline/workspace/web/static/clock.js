// Running figures: durations since, countdowns until, and the bars of offers. The server's clock counts.
"use strict";
const staylineClock = (() => {
  let ahead = Number(document.body.dataset.now) - Date.now() / 1000;
  const lengths = new Map();

  const now = () => Date.now() / 1000 + ahead;

  // As wording.duration does it.
  function words(seconds) {
    const whole = Math.max(0, Math.floor(seconds));
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
    const two = (figure) => String(figure).padStart(2, "0");
    return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
  }

  function put(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function tick() {
    const at = now();
    for (const element of document.querySelectorAll("[data-since]")) put(element, words(at - element.dataset.since));
    for (const element of document.querySelectorAll("[data-until]")) put(element, words(element.dataset.until - at));
    for (const bar of document.querySelectorAll("[data-bar]")) {
      const left = Math.max(0, bar.dataset.bar - at);
      if (!lengths.has(bar.id)) lengths.set(bar.id, Math.max(left, 1));
      bar.value = left / lengths.get(bar.id);
    }
    if (lengths.size > 200) lengths.clear();
  }

  setInterval(tick, 500);
  document.addEventListener("DOMContentLoaded", tick);
  return { now, tick, set: (serverNow) => { ahead = serverNow - Date.now() / 1000; } };
})();
