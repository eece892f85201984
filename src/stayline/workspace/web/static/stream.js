// The page's stream: notices when it is gone, says so, and gets it back. htmx reconnects a stream that was open;
// this adds what it leaves out: a first attempt that fails, a stream that is silent, an end of the session.
"use strict";
(() => {
  const SILENCE = 15000; // ms without a sign of life (one is due each 5 s) after which the stream counts as dead
  const SHOWN_AFTER = 700; // ms: a reconnection quicker than this is not worth a banner
  const element = document.getElementById("stream");
  const banner = document.getElementById("page-lost");
  let connection = null;
  let heard = performance.now();
  let lostAt = 0;
  let over = false;

  // Logging out is told by the answer and by the end of the stream: leave once.
  let leaving = false;
  function leave() {
    if (leaving) return;
    leaving = true;
    window.location.assign("/login");
  }
  document.addEventListener("stayline:leave", leave);

  function lost() {
    document.body.dataset.stream = "down";
    if (!lostAt) lostAt = Date.now();
    setTimeout(show, SHOWN_AFTER);
  }

  function show() {
    if (!lostAt || Date.now() - lostAt < SHOWN_AFTER) return;
    document.getElementById("page-lost-since").textContent = new Date(lostAt).toLocaleTimeString([], { hour12: false });
    banner.hidden = false;
  }

  function alive() {
    heard = performance.now();
    if (!lostAt) return;
    lostAt = 0;
    banner.hidden = true;
    document.dispatchEvent(new CustomEvent("stayline:back"));
  }

  function finish(text) {
    over = true;
    lost();
    document.getElementById("page-lost-next").textContent = text;
  }

  element.addEventListener("htmx:sse:after:connection", (event) => {
    connection = event.detail.connection;
    document.body.dataset.stream = "up";
    alive();
  });
  element.addEventListener("htmx:sse:before:message", () => alive());
  element.addEventListener("beat", (event) => staylineClock.set(Number(event.detail.data)));
  element.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) leave();
    else lost();
  });
  element.addEventListener("htmx:sse:before:connection", (event) => {
    if (over) event.preventDefault();
    else if (event.detail.connection.attempt > 0) lost();
  });
  element.addEventListener("htmx:sse:close", () => { connection = null; });
  element.addEventListener("over", (event) => {
    if (event.detail.data === "session") leave();
    else finish("Too many pages of this login are open. Go on in one of the others, or reload this one.");
  });
  // The very first request failed or was answered by something that is no stream.
  element.addEventListener("htmx:finally:request", (event) => {
    const status = event.detail.ctx.response?.status;
    if (status === 401) leave();
  });

  setInterval(() => {
    if (over || performance.now() - heard < (connection ? SILENCE : 2000)) return;
    if (connection) {
      // Half dead: drop it, htmx opens a new one.
      heard = performance.now();
      lost();
      connection.reader?.cancel();
    } else if (!element._htmx?.sse) {
      heard = performance.now();
      lost();
      htmx.trigger(element, "stayline:connect");
    }
  }, 1000);
})();
