// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0
"use strict";

// Times go on by themselves: "3m ago", "for 12s", "in 2h".
const span = (seconds) => {
  seconds = Math.max(0, Math.round(seconds));
  if (seconds < 60) return seconds + "s";
  if (seconds < 3600) return Math.floor(seconds / 60) + "m";
  if (seconds < 48 * 3600) return Math.floor(seconds / 3600) + "h";
  return Math.floor(seconds / 86400) + "d";
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
document.addEventListener("htmx:sseError", () => lost(true));
document.addEventListener("htmx:sseOpen", () => lost(false));
document.addEventListener("htmx:responseError", (e) => { if (e.detail.xhr.status === 401) location.reload(); });
const lost = (is) => {
  const note = document.getElementById("lost");
  if (note) note.hidden = !is;
};

// The log of a run that is under way goes on. It stays at its end while it is there.
const follow = () => {
  for (const log of document.querySelectorAll("ol.log[data-follow]:not([data-on])")) {
    log.dataset.on = "";
    const atEnd = () => log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
    const from = new EventSource(log.dataset.follow + "?after=" + log.dataset.after);
    log.scrollTop = log.scrollHeight;
    from.addEventListener("line", (e) => {
      const line = JSON.parse(e.data), end = atEnd();
      if (document.getElementById("L" + line.Number)) return;
      const item = document.createElement("li"), link = document.createElement("a"), text = document.createElement("span");
      item.id = "L" + line.Number;
      if (line.Step) item.className = "step";
      link.href = "#" + item.id;
      link.textContent = line.Number;
      link.setAttribute("aria-label", "Line " + line.Number);
      text.textContent = line.Text;
      item.append(link, text);
      log.append(item);
      if (log.children.length > 4000) log.firstElementChild.remove();
      if (end) log.scrollTop = log.scrollHeight;
    });
    from.addEventListener("end", () => from.close());
    addEventListener("pagehide", () => from.close());
  }
};
document.addEventListener("DOMContentLoaded", follow);
document.addEventListener("htmx:afterSettle", follow);

// A form is sent once.
document.addEventListener("submit", (e) => {
  if (e.target.method !== "post") return;
  if (e.target.dataset.sent) e.preventDefault();
  e.target.dataset.sent = "yes";
  for (const b of e.target.querySelectorAll("button")) b.setAttribute("aria-disabled", "true");
});
