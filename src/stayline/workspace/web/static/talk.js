// The conversation: keeps the newest message in sight, the reply box, drafts and typing.
"use strict";
(() => {
  const DRAFT_AFTER = 400; // ms of quiet before a draft is kept
  const TYPING_EVERY = 3000; // ms
  const headers = JSON.parse(document.body.getAttribute("hx-headers:inherited"));
  const STORE = "stayline-unsaved"; // of this tab only; holds what the server does not have yet, over a reload
  const drafts = new Map(); // interaction -> text; the page's own copy is newer than the server's
  const unsaved = new Set();
  let timer = 0;
  let typed = 0;
  let following = true;
  let shownLog = "";

  const reply = () => document.querySelector("[data-reply]");

  function post(action, fields) {
    return fetch(`/desk/${action}`, { method: "POST", headers, body: new URLSearchParams(fields), keepalive: true });
  }

  // Drafts ------------------------------------------------------------------------------------------------
  function store() {
    if (!unsaved.size) sessionStorage.removeItem(STORE);
    else sessionStorage.setItem(STORE, JSON.stringify([...unsaved].map((id) => [id, drafts.get(id) ?? ""])));
  }

  for (const [id, text] of JSON.parse(sessionStorage.getItem(STORE) ?? "[]")) {
    drafts.set(id, text);
    unsaved.add(id);
  }

  async function saveDrafts() {
    clearTimeout(timer);
    for (const id of [...unsaved]) {
      const text = drafts.get(id) ?? "";
      try {
        const answer = await post("draft", { i: id, text });
        // A refusal (409: no longer on the desk) is final; an unreachable program is tried again.
        if (answer.ok || answer.status === 409) unsaved.delete(id);
      } catch {
        // Kept in `unsaved`: saved when the stream is back.
      }
      if ((drafts.get(id) ?? "") !== text) unsaved.add(id);
      store();
    }
  }

  function keep(box) {
    drafts.set(box.dataset.reply, box.value);
    unsaved.add(box.dataset.reply);
    store();
    clearTimeout(timer);
    timer = setTimeout(saveDrafts, DRAFT_AFTER);
  }

  document.addEventListener("input", (event) => {
    const box = event.target.closest("[data-reply]");
    if (!box) return;
    keep(box);
    if (box.value && performance.now() - typed > TYPING_EVERY) {
      typed = performance.now();
      post("typing", { i: box.dataset.reply }).catch(() => {});
    }
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.closest("[data-reply]") && unsaved.size) saveDrafts();
  });
  document.addEventListener("stayline:back", saveDrafts);
  document.addEventListener("DOMContentLoaded", saveDrafts);

  // Sending: the box is empty at once; if the message was not taken, the text comes back in front of what has
  // been typed since.
  document.addEventListener("keydown", (event) => {
    const box = event.target.closest("[data-reply]");
    if (!box || event.key !== "Enter" || event.shiftKey || event.altKey || event.isComposing) return;
    event.preventDefault();
    const button = box.form.querySelector("button[type=submit]");
    if (button) box.form.requestSubmit(button);
  });

  document.addEventListener("htmx:config:request", (event) => {
    const form = event.detail.ctx.sourceElement;
    if (!form.dataset?.composer) return;
    const box = form.querySelector("[data-reply]");
    if (!box.value.trim()) {
      event.preventDefault();
      return;
    }
    event.detail.ctx.sentText = box.value;
    box.value = "";
    drafts.set(form.dataset.composer, "");
    unsaved.delete(form.dataset.composer);
    store();
    typed = 0;
    following = true;
  });

  document.addEventListener("htmx:finally:request", (event) => {
    const ctx = event.detail.ctx;
    if (ctx.sentText === undefined) return;
    const status = ctx.response?.status ?? 0;
    if (status >= 200 && status < 300) return;
    const id = ctx.sourceElement.dataset.composer;
    const box = document.querySelector(`[data-reply="${CSS.escape(id)}"]`);
    const since = box ? box.value : drafts.get(id) ?? "";
    const text = since ? `${ctx.sentText}\n${since}` : ctx.sentText;
    drafts.set(id, text);
    unsaved.add(id);
    store();
    if (box) box.value = text;
    setTimeout(saveDrafts, DRAFT_AFTER);
  });

  // The transcript ----------------------------------------------------------------------------------------
  const log = () => document.querySelector("[data-log]");
  const atEnd = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 40;

  function settle() {
    const box = log();
    if (!box) {
      shownLog = "";
      return;
    }
    if (box.dataset.log !== shownLog) {
      shownLog = box.dataset.log;
      following = true;
      const text = drafts.get(shownLog);
      const field = reply();
      if (field && text !== undefined && field.dataset.reply === shownLog) field.value = text;
    }
    if (following) box.scrollTop = box.scrollHeight;
    document.querySelector("[data-to-newest]").hidden = following;
  }

  document.addEventListener("scroll", (event) => {
    if (event.target !== log()) return;
    following = atEnd(event.target);
    document.querySelector("[data-to-newest]").hidden = following;
  }, true);
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-to-newest]")) return;
    following = true;
    settle();
  });
  document.addEventListener("htmx:after:swap", settle);
  document.addEventListener("DOMContentLoaded", settle);
  window.addEventListener("resize", settle);

  // Seen: only what is on the screen of somebody who looks at it.
  let marked = "";
  function markRead() {
    const head = document.getElementById("frag-head");
    const count = Number(head.dataset.unread ?? 0);
    if (!count || document.hidden) {
      if (!count) marked = "";
      return;
    }
    const mark = `${head.dataset.interaction} ${count}`;
    if (mark === marked) return;
    marked = mark;
    post("read", { i: head.dataset.interaction }).catch(() => { marked = ""; });
  }
  document.addEventListener("htmx:after:swap", markRead);
  document.addEventListener("visibilitychange", markRead);
  document.addEventListener("DOMContentLoaded", markRead);
})();
