// The rest of the desk: tab title, dialogs, menu, notices, keys, fields that were refused, focus.
"use strict";
(() => {
  const PASSING = 9000; // ms a passing notice stays
  const dialog = document.getElementById("dialog");
  let wantsReply = "";

  const title = () => document.getElementById("frag-title").dataset.title;

  document.addEventListener("htmx:after:swap", () => {
    if (document.title !== title()) document.title = title();
    staylineClock.tick();
    for (const notice of document.querySelectorAll("[data-passing]")) {
      if (notice.dataset.passing) continue;
      notice.dataset.passing = "counted";
      setTimeout(() => notice.remove(), PASSING);
    }
    if (wantsReply) {
      const box = document.querySelector(`[data-reply="${CSS.escape(wantsReply)}"]`);
      if (box) {
        box.focus();
        wantsReply = "";
      }
    }
  });

  // Whoever accepts an offer, or clicks an interaction, wants to write. The keyboard stays where it is.
  document.addEventListener("htmx:config:request", (event) => {
    const { sourceElement, sourceEvent, request } = event.detail.ctx;
    const click = sourceEvent?.detail > 0;
    if (request.action === "/desk/accept" || (request.action === "/desk/choose" && click)) {
      wantsReply = JSON.parse(sourceElement.getAttribute("hx-vals")).i;
    }
  });

  // Dialogs: content from the server at each opening.
  async function open(address) {
    await htmx.ajax("GET", address, { source: "#dialog", swap: "none" });
    if (document.getElementById("dialog-body").childElementCount && !dialog.open) dialog.showModal();
  }
  // The corner is behind an open dialog: what was refused there is said in the dialog.
  function refusedIn(form) {
    const said = document.querySelector("#said .notice:last-child");
    form.querySelector("[data-problem]").textContent = said?.querySelector(".notice-text").textContent ?? "No answer.";
    said?.remove();
  }
  dialog.addEventListener("close", () => document.getElementById("dialog-body").replaceChildren());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest("[data-close-dialog]")) dialog.close();
  });
  document.addEventListener("htmx:finally:request", (event) => {
    const { sourceElement, response } = event.detail.ctx;
    if (sourceElement.matches?.("[data-closes]")) {
      if (response && response.status < 400) dialog.close();
      else refusedIn(sourceElement);
    }
    if (sourceElement.matches?.("[data-closes-menu]")) document.getElementById("status-menu").hidePopover();
  });

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) open(opener.dataset.dialog);
    event.target.closest("[data-close]")?.closest(".notice")?.remove();
  });

  // A field whose change was refused shows the value that stands.
  document.addEventListener("htmx:response:error", (event) => {
    const field = event.detail.ctx.sourceElement;
    if (field.dataset?.saved !== undefined) field.value = field.dataset.saved;
    else if (field.tagName === "SELECT") field.value = field.querySelector("option[selected]")?.value ?? "";
  });

  // Nothing answered at all.
  document.addEventListener("htmx:error", (event) => {
    const ctx = event.detail.ctx;
    if (!ctx || ctx.sourceElement.id === "stream") return;
    const notice = document.createElement("div");
    notice.className = "notice notice-error";
    const text = document.createElement("p");
    text.className = "notice-text";
    text.textContent = "The Workspace program does not answer. This was not done; try again when the red line is gone.";
    notice.append(text);
    document.getElementById("said").append(notice);
    setTimeout(() => notice.remove(), PASSING);
  });

  // Keys.
  function step(by) {
    const rows = [...document.querySelectorAll(".row")];
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.getAttribute("aria-current"));
    const row = rows[at < 0 ? 0 : (at + by + rows.length) % rows.length];
    row.focus();
    row.click();
  }
  const KEYS = {
    KeyA: () => document.querySelector('.offer [hx-post="/desk/accept"]')?.click(),
    KeyR: () => document.querySelector("[data-reply]")?.focus(),
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
  };
  document.addEventListener("keydown", (event) => {
    if (!event.altKey || event.ctrlKey || event.metaKey || dialog.open || !KEYS[event.code]) return;
    event.preventDefault();
    KEYS[event.code]();
  });
})();
