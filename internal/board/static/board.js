// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0
"use strict";

// Times go on by themselves: "3m 5s ago", "for 12s", "in 7h 59m".
const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
const span = (seconds) => {
  seconds = Math.max(0, Math.round(seconds));
  for (let i = 0; i < 3; i++) {
    const [name, size] = units[i], [smaller, part] = units[i + 1];
    const n = Math.floor(seconds / size), rest = Math.floor((seconds % size) / part);
    if (n > 0) return n + name + (n < 10 && rest > 0 ? " " + rest + smaller : "");
  }
  return seconds + "s";
};

const tick = () => {
  for (const t of document.querySelectorAll("time[data-ago],time[data-since],time[data-until]")) {
    const past = (Date.now() - Date.parse(t.dateTime)) / 1000;
    const text = "ago" in t.dataset ? span(past) + " ago" : span("until" in t.dataset ? -past : past);
    if (t.textContent !== text) t.textContent = text;
  }
};
setInterval(tick, 1000);
document.addEventListener("DOMContentLoaded", tick);
document.addEventListener("htmx:afterSettle", tick);

// What somebody has opened stays open, and what somebody types stays, when the page changes.
if (window.Idiomorph) {
  const kept = { DETAILS: "open", INPUT: "value", OPTION: "selected" };
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => kept[node.tagName] !== name;
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (node, next) =>
    !(node.nodeType === 1 && node.matches("ol.log[data-follow]") && next.nodeType === 1 && next.matches("ol.log[data-follow]"));
}

// It is said when the board does not answer.
const lost = (is) => {
  const note = document.getElementById("lost");
  if (note) note.hidden = !is;
};

// A page that is no longer available makes way for what the board says instead: nobody is
// signed in, or what it shows is gone.
const gone = (status) => {
  if ([401, 403, 404].includes(status)) location.reload();
};
document.addEventListener("htmx:responseError", (e) => gone(e.detail.xhr.status));

// Stream is an EventSource that goes on after whatever ends it, and is closed while nobody
// sees the page: browsers open only a few to a host.
class Stream {
  constructor(address) {
    this.address = address;
    this.listeners = new Map(); // by event
    this.wait = 2; // seconds
    this.seen = () => (document.hidden ? this.pause() : this.open());
    document.addEventListener("visibilitychange", this.seen);
    this.seen();
  }
  open() {
    if (this.source) return;
    const source = (this.source = new EventSource(this.address()));
    this.heard = ""; // what the board said last
    source.addEventListener("changed", (e) => (this.heard = e.lastEventId));
    source.onopen = () => {
      lost(false);
      this.wait = 2;
    };
    source.onerror = () => {
      lost(true);
      if (source.readyState === EventSource.CLOSED && source === this.source) this.refused();
    };
    for (const [name, f] of this.listeners) source.addEventListener(name, f);
  }
  // The board, or what is before it, does not give the stream. An EventSource does not say why.
  refused() {
    this.pause();
    this.later = setTimeout(this.seen, 1000 * this.wait);
    this.wait = Math.min(2 * this.wait, 60);
    fetch(location.href, { method: "HEAD", headers: { "HX-Request": "true" } }).then((r) => gone(r.status), () => {});
  }
  pause() {
    clearTimeout(this.later);
    this.source?.close();
    this.source = null;
  }
  again() {
    this.pause();
    this.seen();
  }
  close() {
    document.removeEventListener("visibilitychange", this.seen);
    this.pause();
  }
  // One listens to an event, the last: htmx adds one more whenever it has changed the page.
  addEventListener(name, f) {
    this.removeEventListener(name, this.listeners.get(name));
    this.listeners.set(name, f);
    this.source?.addEventListener(name, f);
  }
  removeEventListener(name, f) {
    if (this.listeners.get(name) === f) this.listeners.delete(name);
    this.source?.removeEventListener(name, f);
  }
}

// A page that changes by itself names to its stream what it shows. Where that is not what the
// stream said last, something has changed until the page was had, and the stream begins again:
// it would not notice a change back. What is behind the dot changes all the time.
const shown = () => document.getElementById("live")?.dataset.seen ?? "";
if (window.htmx) htmx.createEventSource = (address) => {
  const stream = new Stream(() => address + "?seen=" + shown());
  document.addEventListener("htmx:afterSettle", () => {
    if (stream.heard && stream.heard.split(".")[0] !== shown().split(".")[0]) stream.again();
  });
  return stream;
};

// The log of a run that is under way goes on. It stays at its end while it is there.
const follow = () => {
  for (const log of document.querySelectorAll("ol.log[data-follow]:not([data-on])")) {
    log.dataset.on = "";
    const atEnd = () => log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
    const from = new Stream(() => log.dataset.follow + "?after=" + log.dataset.after);
    log.scrollTop = log.scrollHeight;
    from.addEventListener("line", (e) => {
      const line = JSON.parse(e.data), end = atEnd();
      log.dataset.after = line.Number;
      if (document.getElementById("L" + line.Number)) return;
      const item = document.createElement("li"), link = document.createElement("a"), text = document.createElement("span");
      item.id = "L" + line.Number;
      if (line.Step) item.className = "step";
      link.href = "?line=" + line.Number + "#" + item.id;
      link.textContent = line.Number;
      link.setAttribute("aria-label", "Line " + line.Number);
      text.textContent = line.Text;
      item.append(link, text);
      log.append(item);
      if (log.children.length > 4000) log.firstElementChild.remove();
      if (end) log.scrollTop = log.scrollHeight;
    });
    from.addEventListener("end", () => from.close());
  }
};
document.addEventListener("DOMContentLoaded", follow);
document.addEventListener("htmx:afterSettle", follow);

// Changes of a status are announced to screen readers.
let announced = new Map();
const announce = () => {
  const now = new Map(), changed = [];
  for (const e of document.querySelectorAll("[data-tell]")) {
    const name = e.dataset.tell, status = e.textContent.trim();
    if (announced.has(name) && announced.get(name) !== status) changed.push(name + " is " + status);
    now.set(name, status);
  }
  announced = now;
  const news = document.getElementById("news");
  if (news && changed.length > 0) news.textContent = changed.join(", ");
};
document.addEventListener("DOMContentLoaded", announce);
document.addEventListener("htmx:afterSettle", announce);

// The browser keeps a key for the board, and each form has it. A cookie goes to every port of a
// host; this is for pages of the board alone, so that the cookie without it presses no button.
const keyName = "penstock-key";
const key = (make) => {
  try {
    if (make && !localStorage.getItem(keyName)) {
      const bytes = crypto.getRandomValues(new Uint8Array(32));
      localStorage.setItem(keyName, Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(""));
    }
    return localStorage.getItem(keyName) ?? "";
  } catch {
    return ""; // the browser keeps nothing for this site
  }
};
const sign = (form) => {
  let field = form.elements.namedItem("key");
  if (!field) {
    field = document.createElement("input");
    field.type = "hidden";
    field.name = "key";
    form.append(field);
  }
  field.value = key("signIn" in form.dataset);
};

// The page to sign in goes on where nothing is left to ask, and where somebody has signed in in
// another tab.
const enter = () => {
  const form = document.querySelector("form[data-sign-in]");
  if (form && "auto" in form.dataset) form.requestSubmit();
};
document.addEventListener("DOMContentLoaded", enter);
document.addEventListener("visibilitychange", () => {
  const form = document.querySelector("form[data-waits]");
  if (form && !document.hidden && !form.elements.token.value) location.replace("/sign-in?to=" + encodeURIComponent(form.elements.to.value));
});
window.addEventListener("pageshow", (e) => {
  if (e.persisted && document.querySelector("form[data-sign-in]")) location.reload();
});

// A form is sent once.
document.addEventListener("submit", (e) => {
  if (e.target.method !== "post") return;
  sign(e.target);
  if (e.target.dataset.sent) e.preventDefault();
  e.target.dataset.sent = "yes";
  for (const b of e.target.querySelectorAll("button")) b.setAttribute("aria-disabled", "true");
});
