// Stayline chat widget: one script, no framework.
//
//   <script src="https://chat.example/widget.js" defer
//           data-servers="https://chat-a.example,https://chat-b.example"
//           data-queue="chat.support" data-title="Chat with us"></script>
//
// What a customer typed is kept until a server has said that it is durable; what agents wrote is shown once and in
// order. The page may be reloaded and any server may go away meanwhile. Protocol: docs/reference/customer-protocol.md.
(() => {
  "use strict";

  const script = document.currentScript;
  const settings = {
    servers: (script.dataset.servers || new URL(script.src).origin)
      .split(",").map((part) => part.trim().replace(/\/+$/, "")).filter(Boolean),
    queue: script.dataset.queue || "chat.support",
    title: script.dataset.title || "Chat with us",
  };

  const FIRST_PAUSE = 200, LONGEST_PAUSE = 3000; // ms between rounds over all servers
  const CONNECT_TIMEOUT = 4000, PING_EVERY = 5000, SILENCE = 5000, TYPING_EVERY = 3000;
  const LONG_ABSENCE = 30000; // ms until the customer is told that this takes longer
  const MAX_TEXT = 4000;

  const randomToken = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(24));
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_");
  };

  const shuffled = (list) => {
    const copy = [...list];
    for (let i = copy.length - 1; i > 0; i -= 1) {
      const j = Math.floor(Math.random() * (i + 1));
      [copy[i], copy[j]] = [copy[j], copy[i]];
    }
    return copy;
  };

  // ---- what survives a reload ------------------------------------------------------------------------------

  class Memory {
    constructor(key) {
      this.key = key;
      this.chat = null; // {session, secret, start, started, outbox: [{id, text}]}
      this.open = false;
      try {
        const saved = JSON.parse(sessionStorage.getItem(key) || "null");
        if (saved) ({ chat: this.chat, open: this.open } = saved);
      } catch { /* blocked or damaged storage: the chat then lives as long as the page */ }
    }

    save() {
      try {
        sessionStorage.setItem(this.key, JSON.stringify({ chat: this.chat, open: this.open }));
      } catch { /* see above */ }
    }
  }

  // ---- the connection: any server, for ever ----------------------------------------------------------------

  class Connection {
    constructor(servers, events) {
      this.servers = servers;
      this.events = events; // up(), down(), trying(), message(object)
      this.socket = null;
      this.wanted = false;
      this.round = 0; // how many times all servers were asked since one did its work
      this.queue = [];
      this.lost = null;
      this.timers = {};
      window.addEventListener("online", () => this.hurry());
      document.addEventListener("visibilitychange", () => { if (!document.hidden) this.hurry(); });
    }

    start() {
      if (this.wanted) return;
      this.wanted = true;
      this.next();
    }

    stop() {
      this.wanted = false;
      this.clear();
      this.drop();
    }

    get isUp() { return this.socket !== null && this.socket.readyState === WebSocket.OPEN; }

    send(message) {
      if (this.isUp) this.socket.send(JSON.stringify(message));
    }

    // A laptop woke up or the network is back: find out at once whether the connection still lives.
    hurry() {
      if (!this.wanted) return;
      if (this.isUp) this.ping();
      else if (this.timers.pause) { this.clear(); this.connect(this.queue.shift()); }
    }

    clear() {
      for (const name of Object.keys(this.timers)) clearTimeout(this.timers[name]);
      this.timers = {};
    }

    drop() {
      const socket = this.socket;
      this.socket = null;
      if (socket) {
        socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
        socket.close();
      }
    }

    // One round asks every server once, in random order; the one that was lost is asked last. Rounds are divided by
    // a pause that grows.
    next(atLeast = 0) {
      if (!this.wanted) return;
      if (this.queue.length === 0) {
        const others = shuffled(this.servers.filter((server) => server !== this.lost));
        this.queue = this.lost ? [...others, this.lost] : others;
        this.lost = null;
        this.round += 1;
        if (this.round > 1 || atLeast > 0) return this.pause(atLeast);
      }
      this.connect(this.queue.shift());
    }

    pause(atLeast) {
      const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.max(0, this.round - 2));
      this.events.trying();
      this.timers.pause = setTimeout(() => {
        delete this.timers.pause;
        this.connect(this.queue.shift());
      }, Math.max(atLeast, longest * (0.5 + Math.random() / 2)));
    }

    connect(server) {
      let socket;
      try {
        socket = new WebSocket(`${server.replace(/^http/, "ws")}/chat`);
      } catch {
        return this.failed();
      }
      this.socket = socket;
      this.server = server;
      this.timers.connect = setTimeout(() => this.failed(), CONNECT_TIMEOUT);
      socket.onopen = () => {
        clearTimeout(this.timers.connect);
        this.heard();
        this.events.up(server);
      };
      socket.onmessage = (event) => {
        this.heard();
        let message;
        try { message = JSON.parse(event.data); } catch { return; }
        if (message.type === "leaving") return this.failed(message.retry_after * 1000);
        if (message.type !== "pong") this.events.message(message);
      };
      socket.onclose = () => this.failed();
    }

    // The server does its work: when it is lost, a new first round begins.
    confirmed() {
      this.round = 0;
      this.queue = [];
      this.lost = this.server;
    }

    failed(wait = 0) {
      this.clear();
      this.drop();
      this.events.down();
      this.next(wait);
    }

    ping() {
      this.send({ type: "ping" });
      clearTimeout(this.timers.silence);
      this.timers.silence = setTimeout(() => this.failed(), SILENCE);
    }

    heard() {
      clearTimeout(this.timers.silence);
      clearTimeout(this.timers.ping);
      this.timers.ping = setTimeout(() => this.ping(), PING_EVERY);
    }
  }

  // ---- the chat: start or resume, outbox, order ------------------------------------------------------------

  class Chat {
    constructor(memory, view) {
      this.memory = memory;
      this.view = view;
      this.forgetShown();
      this.ready = false;
      this.ended = false;
      this.awaySince = 0; // ms; since when no server has been reached
      this.connection = new Connection(settings.servers, {
        up: () => this.introduce(),
        down: () => { this.ready = false; this.view.status(this.absence()); },
        trying: () => this.view.status(this.absence()),
        message: (message) => this.take(message),
      });
    }

    get data() { return this.memory.chat; }

    absence() {
      if (this.ended) return "";
      const waiting = this.data && this.data.outbox.length;
      this.awaySince = this.awaySince || Date.now();
      if (Date.now() - this.awaySince > LONG_ABSENCE) {
        return waiting
          ? "The chat cannot be reached at the moment. Your message is kept: leave this page open and it is sent "
            + "as soon as the chat is back."
          : "The chat cannot be reached at the moment. Leave this page open: it goes on by itself.";
      }
      return waiting
        ? "Connection lost. Reconnecting; your message is kept and will be sent."
        : "Connection lost. Reconnecting, you need not do anything.";
    }

    begin(form) {
      this.forgetShown();
      this.ended = false;
      const start = { queue: settings.queue, ...form };
      const first = start.text ? { id: randomToken(), text: start.text } : null;
      if (first) start.id = first.id;
      this.memory.chat = {
        session: randomToken(), secret: randomToken(), start, started: false, outbox: first ? [first] : [],
      };
      this.memory.save();
      if (first) this.view.pending(first);
      this.view.status("Connecting…");
      if (this.connection.isUp) this.introduce();
      this.connection.start();
    }

    restore() {
      for (const message of this.data.outbox) this.view.pending(message);
      this.view.status("Connecting…");
      this.connection.start();
    }

    introduce() {
      const { session, secret, start, started } = this.data;
      this.connection.send(started
        ? { type: "resume", session, secret, after: this.last, last: this.lastId }
        : { type: "start", session, secret, ...start, after: this.last });
    }

    take(message) {
      if (!this.data) return;
      const handler = this[`on_${message.type}`];
      if (handler) handler.call(this, message);
    }

    on_started() {
      this.data.started = true;
      this.data.start = null;
      this.memory.save();
      this.on_resumed();
    }

    on_resumed(message) {
      if (message && message.again) this.rewind();
      this.ready = true;
      this.awaySince = 0;
      this.connection.confirmed();
      for (const message of this.data.outbox) this.connection.send({ type: "send", ...message });
      if (this.data.ending) this.connection.send({ type: "end" });
    }

    // A site was lost with the newest entries: what is shown is not the transcript any more. All of it follows, and
    // what was written here is sent again under its old id, so that it is there once whether it was lost or not.
    rewind() {
      const waiting = new Set(this.data.outbox.map((message) => message.id));
      this.data.outbox.unshift(...this.own.filter((message) => !waiting.has(message.id)));
      this.memory.save();
      this.forgetShown();
      this.view.clear();
      for (const message of this.data.outbox) this.view.pending(message);
    }

    forgetShown() {
      this.last = 0;
      this.lastId = "";
      this.own = [];
    }

    on_ack(message) {
      this.acknowledged(message.id);
      this.view.sent(message.id);
    }

    on_entry(entry) {
      if (entry.seq <= this.last) return; // shown already
      if (entry.seq > this.last + 1) return this.introduce(); // something is missing: ask for it, show nothing yet
      this.last = entry.seq;
      this.lastId = entry.id;
      if (entry.party === "customer") {
        this.acknowledged(entry.id);
        if (entry.kind === "message") this.own.push({ id: entry.id, text: entry.text });
      }
      this.view.entry(entry);
      if (entry.kind === "ended") this.finish();
    }

    on_typing(message) { this.view.typing(message.name); }

    on_state(state) {
      this.view.agents(state.agents);
      if (!state.ended) {
        this.view.status(state.delayed
          ? "There is a short delay. Your messages are kept and will be delivered."
          : state.agents.length ? "" : "You are in the queue. An agent will be with you soon.");
      }
    }

    on_error(error) {
      if (error.of === "send" && error.id) return this.send_refused(error);
      if (error.retryable) {
        const wait = Math.max(300, (error.retry_after || 0) * 1000) * (1 + Math.random() / 2);
        if (error.of === "start" || error.of === "resume" || !error.of) {
          this.view.status(this.busy(error, wait));
          clearTimeout(this.retry); // one at a time, however often the connection came and went meanwhile
          this.retry = setTimeout(() => { if (this.connection.isUp && !this.ready) this.introduce(); }, wait);
        } else if (error.of === "end") {
          setTimeout(() => this.end(), wait);
        }
        return;
      }
      if (error.code === "chat.not_started" && this.data.start) { this.data.started = false; this.introduce(); }
      else if (error.of === "start") this.start_refused(error);
      else if (error.of === "resume") this.forget("Your earlier chat is over. You can start a new one.");
      else this.view.status(error.reason);
    }

    busy(error, wait) {
      if (error.code !== "chat.too_many_starts") return "The centre is busy at the moment. Trying again…";
      const seconds = Math.ceil(wait / 1000);
      return "Many chats were started from your network just now. Your message is kept; trying again in "
        + `${seconds} ${seconds === 1 ? "second" : "seconds"}…`;
    }

    send_refused(error) {
      if (error.retryable) {
        const message = this.data.outbox.find((item) => item.id === error.id);
        const wait = Math.max(300, (error.retry_after || 0) * 1000);
        setTimeout(() => { if (message && this.ready) this.connection.send({ type: "send", ...message }); }, wait);
        return;
      }
      this.acknowledged(error.id);
      this.view.failed(error.id, error.reason);
    }

    start_refused(error) {
      const form = this.data.start;
      this.memory.chat = null;
      this.memory.save();
      this.connection.stop();
      this.view.form(error.reason, error.field, form);
    }

    acknowledged(id) {
      const kept = this.data.outbox.filter((message) => message.id !== id);
      if (kept.length !== this.data.outbox.length) {
        this.data.outbox = kept;
        this.memory.save();
      }
    }

    send(text) {
      const message = { id: randomToken(), text };
      this.data.outbox.push(message);
      this.memory.save();
      this.view.pending(message);
      if (this.ready) this.connection.send({ type: "send", ...message });
    }

    typing() {
      const now = Date.now();
      if (this.ready && now - (this.typed || 0) > TYPING_EVERY) {
        this.typed = now;
        this.connection.send({ type: "typing" });
      }
    }

    end() {
      if (!this.data || this.ended) return;
      this.data.ending = true;
      this.memory.save();
      if (this.ready) this.connection.send({ type: "end" });
      else this.view.status("The chat is ended as soon as the connection is back.");
      this.view.ending();
    }

    finish() {
      this.ended = true;
      this.ready = false;
      for (const message of this.data.outbox) this.view.failed(message.id, "Not sent: the chat has ended.");
      this.connection.stop();
      this.memory.chat = null;
      this.memory.save();
      this.view.over();
    }

    forget(why) {
      this.ended = true;
      this.connection.stop();
      // What was typed and never stored goes back into the form: nobody has to type it again.
      const unsent = this.data.outbox.map((message) => message.text).join("\n\n").slice(0, MAX_TEXT);
      this.memory.chat = null;
      this.memory.save();
      this.view.form(why, undefined, unsent ? { text: unsent } : undefined);
    }
  }

  // ---- what the customer sees ------------------------------------------------------------------------------

  const STYLE = `
    :host { all: initial; color-scheme: light dark; --ink: #1b2430; --soft: #5a6675; --paper: #ffffff;
      --line: #d4dae1; --accent: #0b5cad; --on-accent: #ffffff; --mine: #e3effb; --theirs: #f1f3f5;
      --bad: #a4262c; font: 15px/1.45 system-ui, sans-serif; }
    @media (prefers-color-scheme: dark) { :host { --ink: #e7ebf0; --soft: #a3afbd; --paper: #171c22;
      --line: #343d48; --accent: #7db8f2; --on-accent: #0d1720; --mine: #1e3a56; --theirs: #242b34;
      --bad: #ff9a9f; } }
    * { box-sizing: border-box; font: inherit; color: inherit; }
    [hidden] { display: none !important; }
    .launch { position: fixed; right: 20px; bottom: 20px; padding: 12px 20px; border: 0; border-radius: 24px;
      background: var(--accent); color: var(--on-accent); font-weight: 600; cursor: pointer;
      box-shadow: 0 4px 14px rgb(0 0 0 / .25); z-index: 2147483000; }
    .panel { position: fixed; right: 20px; bottom: 20px; width: min(380px, calc(100vw - 24px));
      height: min(580px, calc(100vh - 40px)); display: flex; flex-direction: column; background: var(--paper);
      color: var(--ink); border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
      box-shadow: 0 10px 34px rgb(0 0 0 / .28); z-index: 2147483000; }
    header { display: flex; align-items: center; gap: 8px; padding: 10px 12px; background: var(--accent);
      color: var(--on-accent); }
    header h2 { flex: 1; margin: 0; font-size: 16px; font-weight: 600; overflow: hidden;
      text-overflow: ellipsis; white-space: nowrap; }
    header button { background: transparent; border: 1px solid currentColor; border-radius: 6px;
      padding: 3px 9px; font-size: 13px; cursor: pointer; }
    .status { margin: 0; padding: 6px 12px; border-bottom: 1px solid var(--line); color: var(--soft);
      font-size: 13px; }
    .status:empty { padding: 0; border: 0; }
    .log { flex: 1; overflow-y: auto; padding: 12px; display: flex; flex-direction: column; gap: 8px; margin: 0;
      list-style: none; }
    .log li { max-width: 85%; overflow-wrap: anywhere; }
    .log .text { padding: 8px 11px; border-radius: 10px; background: var(--theirs); white-space: pre-wrap; }
    .log .mine { align-self: flex-end; } .log .mine .text { background: var(--mine); }
    .log .note { align-self: center; color: var(--soft); font-size: 13px; text-align: center; }
    .log .meta { font-size: 12px; color: var(--soft); padding: 1px 4px; }
    .log .mine .meta { text-align: right; } .log .failed .meta { color: var(--bad); }
    .typing { min-height: 20px; padding: 0 14px; font-size: 13px; color: var(--soft); }
    form { padding: 12px; display: flex; flex-direction: column; gap: 9px; }
    form.begin { flex: 1; overflow-y: auto; }
    label { display: flex; flex-direction: column; gap: 3px; font-size: 13px; color: var(--soft); }
    input, textarea { padding: 8px 10px; border: 1px solid var(--line); border-radius: 8px; width: 100%;
      background: var(--paper); color: var(--ink); font-size: 15px; }
    textarea { resize: none; }
    .reply { border-top: 1px solid var(--line); flex-direction: row; align-items: flex-end; }
    .reply label { flex: 1; }
    .main { padding: 9px 16px; border: 0; border-radius: 8px; background: var(--accent);
      color: var(--on-accent); font-weight: 600; cursor: pointer; }
    .error { margin: 0; color: var(--bad); font-size: 14px; }
    .over { padding: 12px; border-top: 1px solid var(--line); }
    .hush { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
    :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
    header :focus-visible { outline-color: currentColor; }
  `;

  // Elements are made one by one and text is only ever set as text: nothing that anybody wrote becomes HTML.
  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  };

  class View {
    constructor(memory) {
      this.memory = memory;
      this.unread = 0;
      this.bubbles = new Map(); // id of a message that is not in the transcript yet -> its list item
      this.build();
      this.chat = new Chat(memory, this);
      if (memory.chat) { this.show("chat"); this.chat.restore(); } else this.show("form");
      this.toggle(memory.open, false);
    }

    build() {
      const host = element("div", { id: "stayline-chat" });
      const root = host.attachShadow({ mode: "open" });
      // A constructed style sheet needs no exception in the page's content security policy.
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(STYLE);
      root.adoptedStyleSheets = [sheet];
      this.launch = element("button", {
        class: "launch", type: "button", "aria-expanded": "false", onclick: () => this.toggle(true),
      }, settings.title);
      this.title = element("h2", { id: "title" }, settings.title);
      this.endButton = element("button", { type: "button", onclick: () => this.askEnd() }, "End chat");
      this.log = element("ol", { class: "log", role: "log", "aria-live": "polite", "aria-label": "Conversation",
        tabindex: "0" });
      this.typingLine = element("div", { class: "typing", "aria-live": "off" });
      this.statusLine = element("p", { class: "status", role: "status" });
      this.buildForm();
      this.buildReply();
      this.again = element("div", { class: "over" }, element("button", {
        class: "main", type: "button", onclick: () => this.renew(),
      }, "Start a new chat"));
      this.panel = element("section", { class: "panel", role: "dialog", "aria-labelledby": "title",
        onkeydown: (event) => { if (event.key === "Escape") this.toggle(false); } },
      element("header", {}, this.title, this.endButton,
        element("button", { type: "button", "aria-label": "Minimise chat", onclick: () => this.toggle(false) }, "–")),
      this.statusLine, this.log, this.typingLine, this.beginForm, this.replyForm, this.again);
      root.append(this.launch, this.panel);
      document.body.append(host);
      this.root = root;
    }

    buildForm() {
      const field = (label, name, extra = {}) => element("label", {}, label,
        element("input", { name, autocomplete: "off", ...extra }));
      this.formError = element("p", { class: "error", role: "alert" });
      this.beginForm = element("form", { class: "begin", novalidate: true, onsubmit: (event) => this.submit(event) },
        field("Your name", "name", { maxlength: "100", required: true, autocomplete: "name" }),
        field("E-mail", "email", { type: "email", maxlength: "254", required: true, autocomplete: "email" }),
        field("Subject", "subject", { maxlength: "200" }),
        element("label", {}, "How can we help?",
          element("textarea", { name: "text", rows: "4", maxlength: String(MAX_TEXT), required: true })),
        this.formError,
        element("button", { class: "main", type: "submit" }, "Start chat"));
    }

    buildReply() {
      this.input = element("textarea", { rows: "2", maxlength: String(MAX_TEXT), "aria-label": "Message",
        placeholder: "Type a message",
        oninput: () => this.chat.typing(),
        onkeydown: (event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            this.reply();
          }
        } });
      this.replyForm = element("form", { class: "reply", onsubmit: (event) => {
        event.preventDefault();
        this.reply();
      } }, element("label", {}, element("span", { class: "hush" }, "Message"), this.input),
      element("button", { class: "main", type: "submit" }, "Send"));
    }

    show(what) {
      this.mode = what;
      this.beginForm.hidden = what !== "form";
      this.replyForm.hidden = what !== "chat";
      this.again.hidden = what !== "over";
      this.endButton.hidden = what !== "chat";
      this.log.hidden = this.typingLine.hidden = what === "form";
      this.endButton.textContent = "End chat";
      this.asked = false;
    }

    toggle(open, focus = true) {
      this.memory.open = open;
      this.memory.save();
      this.panel.hidden = !open;
      this.launch.hidden = open;
      this.launch.setAttribute("aria-expanded", String(open));
      if (open) this.unread = 0;
      this.label();
      if (!focus) return;
      if (!open) this.launch.focus();
      else if (this.mode === "form") this.beginForm.elements.name.focus();
      else this.input.focus();
    }

    label() {
      this.launch.textContent = this.unread ? `${settings.title} (${this.unread} new)` : settings.title;
    }

    submit(event) {
      event.preventDefault();
      const values = Object.fromEntries(new FormData(this.beginForm));
      for (const name of Object.keys(values)) values[name] = values[name].trim();
      const fields = this.beginForm.elements;
      const wrong = ["name", "email", "text"].find((name) => !values[name] || !fields[name].validity.valid);
      if (wrong) {
        const asks = { name: "Please give your name.", email: "Please give a valid e-mail address.",
          text: "Please write how we can help." };
        return this.mark(asks[wrong], wrong);
      }
      this.mark("");
      this.clear();
      this.show("chat");
      this.chat.begin(values);
      this.input.focus();
    }

    mark(text, field) {
      this.formError.textContent = text;
      for (const input of this.beginForm.elements) input.removeAttribute("aria-invalid");
      const input = field && this.beginForm.elements[field];
      if (input) { input.setAttribute("aria-invalid", "true"); input.focus(); }
    }

    form(why, field, values) {
      this.show("form");
      this.status("");
      const inputs = { EmailAddress: "email", FirstName: "name", LastName: "name" };
      for (const [name, value] of Object.entries(values || {})) {
        if (this.beginForm.elements[name]) this.beginForm.elements[name].value = value;
      }
      this.mark(why, inputs[field] || field);
    }

    reply() {
      const text = this.input.value.trim();
      if (!text) return;
      this.input.value = "";
      this.chat.send(text);
    }

    askEnd() {
      if (this.asked) return this.chat.end();
      this.asked = true;
      this.endButton.textContent = "Really end?";
      setTimeout(() => { this.asked = false; this.endButton.textContent = "End chat"; }, 4000);
    }

    ending() { this.endButton.textContent = "Ending…"; }

    over() {
      this.show("over");
      this.status("The chat has ended.");
      this.typing("");
    }

    renew() {
      this.clear();
      this.beginForm.elements.text.value = "";
      this.beginForm.elements.subject.value = "";
      this.show("form");
      this.status("");
      this.agents([]);
      this.beginForm.elements.text.focus();
    }

    clear() {
      this.log.replaceChildren();
      this.bubbles.clear();
    }

    status(text) {
      if (this.statusLine.textContent !== text) this.statusLine.textContent = text;
    }

    agents(names) {
      this.title.textContent = names.length ? `Chat with ${names.join(", ")}` : settings.title;
    }

    typing(name) {
      clearTimeout(this.typingTimer);
      this.typingLine.textContent = name ? `${name} is typing…` : "";
      if (name) this.typingTimer = setTimeout(() => this.typing(""), TYPING_EVERY + 1500);
    }

    bubble(text, who, meta) {
      const line = element("div", { class: "text" });
      line.textContent = text;
      const foot = element("div", { class: "meta" });
      foot.textContent = meta;
      return element("li", { class: who }, line, foot);
    }

    // Messages under way stay below everything that is in the transcript.
    place(item) {
      const stick = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
      const [first] = this.bubbles.values();
      this.log.insertBefore(item, first || null);
      if (stick) this.log.scrollTop = this.log.scrollHeight;
    }

    pending(message) {
      if (this.bubbles.has(message.id)) return;
      const item = this.bubble(message.text, "mine", "Sending…");
      item.dataset.state = "sending";
      this.log.append(item);
      this.bubbles.set(message.id, item);
      this.log.scrollTop = this.log.scrollHeight;
    }

    sent(id) {
      const item = this.bubbles.get(id);
      if (!item) return;
      item.dataset.state = "sent";
      item.lastChild.textContent = "Sent";
    }

    failed(id, why) {
      const item = this.bubbles.get(id);
      if (!item) return;
      this.bubbles.delete(id);
      item.dataset.state = "failed";
      item.className = "mine failed";
      item.lastChild.textContent = why;
    }

    entry(entry) {
      const time = new Date(entry.at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const old = this.bubbles.get(entry.id);
      if (old && entry.party === "customer") { this.bubbles.delete(entry.id); old.remove(); }
      if (entry.kind !== "message") return this.place(this.note(entry, time));
      const mine = entry.party === "customer";
      const item = this.bubble(entry.text, mine ? "mine" : "theirs", mine ? `Sent ${time}` : `${entry.name} ${time}`);
      item.dataset.state = "sent";
      item.dataset.seq = entry.seq;
      this.place(item);
      if (!mine) {
        this.typing("");
        if (this.panel.hidden) { this.unread += 1; this.label(); }
      }
    }

    note(entry, time) {
      const item = element("li", { class: "note" });
      item.dataset.seq = entry.seq;
      const by = entry.name || "The centre";
      const texts = {
        joined: `${by} joined`,
        left: `${by} left`,
        ended: entry.party === "customer" ? "You ended the chat" : entry.text || `${by} ended the chat`,
      };
      item.textContent = `${texts[entry.kind] || entry.text} · ${time}`;
      return item;
    }
  }

  const begin = () => new View(new Memory(`stayline:${settings.queue}`));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
