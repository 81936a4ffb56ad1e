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
  const ours = [".log[data-follow]", "button.star"]; // what this script has put there stays
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (node, next) =>
    !(node.nodeType === 1 && next.nodeType === 1 && ours.some((own) => node.matches(own) && next.matches(own)));
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
// it would not notice a change back. Where the stream has said another thing since the page was
// asked for, the page is asked for again anyway. What is behind the dot changes all the time.
const shown = () => document.getElementById("live")?.dataset.seen ?? "";
if (window.htmx) htmx.createEventSource = (address) => {
  const stream = new Stream(() => address + "?seen=" + shown());
  const asked = new WeakMap(); // what the stream had said, by request
  document.addEventListener("htmx:beforeRequest", (e) => asked.set(e.detail.xhr, stream.heard));
  document.addEventListener("htmx:afterSettle", (e) => {
    const heard = stream.heard;
    if (heard && heard === asked.get(e.detail.xhr) && heard.split(".")[0] !== shown().split(".")[0]) stream.again();
  });
  // The stream takes what it has said for shown. Where the page was not had, it begins again, later.
  for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) document.addEventListener(name, () => stream.refused());
  // What comes while a button is pressed waits until it is let go: a click is lost whose button moves away.
  let pressed = false, held = false;
  const letGo = () => {
    if (held) stream.again();
    pressed = held = false;
  };
  document.addEventListener("pointerdown", () => (pressed = true));
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, letGo);
  window.addEventListener("blur", letGo);
  document.addEventListener("htmx:beforeSwap", (e) => {
    if (pressed) e.detail.shouldSwap = false;
    held ||= pressed;
  });
  return stream;
};

// Times are those of the reader's zone, with UTC on hover. Without this script they are UTC.
const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const localise = (t) => {
  const at = new Date(t.dateTime);
  if (t.dataset.zoned || isNaN(at)) return;
  t.dataset.zoned = "yes";
  const utc = at.toISOString().replace(/\.000Z$/, "Z");
  if (t.closest(".log")) {
    t.textContent = clock.format(at);
    t.title = utc;
  } else {
    t.title = zoned.format(at) + " (" + utc + ")";
  }
};
const localiseAll = () => document.querySelectorAll("time[datetime]").forEach(localise);
document.addEventListener("DOMContentLoaded", localiseAll);
document.addEventListener("htmx:afterSettle", localiseAll);

// So are the days of a filter, unless the address says of which zone they are.
const ourZone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const zoneDays = () => {
  for (const field of document.querySelectorAll('input[data-zone=""]')) {
    if (!ourZone) continue;
    field.value = ourZone;
    field.nextElementSibling.textContent = "days of " + ourZone;
  }
};
document.addEventListener("DOMContentLoaded", zoneDays);
document.addEventListener("htmx:afterSettle", zoneDays);

// A line of a log, as the server makes them, too.
const element = (name, attributes, ...children) => {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) if (v) e.setAttribute(k, v);
  e.append(...children);
  return e;
};
const logLine = (line) => {
  const number = element("a", { href: "?line=" + line.Number + "#L" + line.Number, "aria-label": "Line " + line.Number }, line.Number);
  const text = element("span", {});
  for (const part of line.Parts ?? []) {
    if (part.Link && /^https?:\/\//.test(part.Link)) {
      text.append(element("a", { href: part.Link, class: part.Class, rel: "noreferrer noopener", target: "_blank" }, part.Text));
    } else {
      text.append(part.Class ? element("b", { class: part.Class }, part.Text) : part.Text);
    }
  }
  const item = element("li", { id: "L" + line.Number, class: line.Own && "step" }, number);
  if (line.Time) {
    item.append(element("time", { datetime: line.Time }, ""));
  }
  item.append(text);
  return item;
};

// The lines of a step are in a fold of its own, which is added when its first line comes.
const foldFor = (log, line) => {
  const key = String(line.Fold ?? 0), last = log.lastElementChild;
  if (last?.dataset.fold === key) return last.querySelector("ol");
  const list = element("ol", {});
  if (key === "0") {
    log.append(element("div", { "data-fold": key }, list));
  } else {
    const head = element("summary", {}, element("span", { class: "name" }, line.Step), " ", element("span", { class: "state" }, ""));
    log.append(element("details", { class: "fold", id: "step-" + key, "data-fold": key, open: "open" }, head, list));
  }
  return list;
};

// The heads of a live log's folds say what the table of steps does.
const stepStates = () => {
  for (const fold of document.querySelectorAll(".log[data-follow] .fold")) {
    const status = document.querySelector('tr[data-step="' + fold.dataset.fold + '"] .status');
    const state = fold.querySelector(".state");
    if (status && state && state.textContent.trim().split(" ")[0] !== status.textContent) state.replaceChildren(status.cloneNode(true));
  }
};
document.addEventListener("htmx:afterSettle", stepStates);

// The log of a run that is under way goes on. It stays at its end while it is there, and
// nobody has paused it.
const follow = () => {
  for (const log of document.querySelectorAll(".log[data-follow]:not([data-on])")) {
    log.dataset.on = "";
    const atEnd = () => !("paused" in log.dataset) && log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
    const from = new Stream(() => log.dataset.follow + "?after=" + log.dataset.after);
    log.scrollTop = log.scrollHeight;
    let lines = log.querySelectorAll("li").length;
    from.addEventListener("line", (e) => {
      const line = JSON.parse(e.data), end = atEnd();
      log.dataset.after = line.Number;
      if (document.getElementById("L" + line.Number)) return;
      const item = logLine(line);
      foldFor(log, line).append(item);
      item.querySelectorAll("time").forEach(localise);
      if (++lines > 4000) {
        log.querySelector("li").remove();
        lines--;
        const first = log.firstElementChild;
        if (!first.querySelector("li")) first.remove();
      }
      const count = document.getElementById("lines");
      if (count) count.textContent = line.Number + (line.Number === 1 ? " line" : " lines");
      if (end) log.scrollTop = log.scrollHeight;
    });
    from.addEventListener("end", () => from.close());
  }
};
document.addEventListener("DOMContentLoaded", follow);
document.addEventListener("htmx:afterSettle", follow);

// show opens a line's fold and scrolls the log, and not the page, to it.
const showLine = (line) => {
  const item = document.getElementById("L" + line), log = item?.closest(".log");
  if (!log) return false;
  const fold = item.closest("details");
  if (fold) fold.open = true;
  log.scrollTop += item.getBoundingClientRect().top - log.getBoundingClientRect().top - log.clientHeight / 3;
  for (const other of log.querySelectorAll("li.found")) other.classList.remove("found");
  item.classList.add("found");
  return true;
};
const openLog = () => {
  const linked = location.hash.match(/^#L(\d+)$/), log = document.querySelector(".log[data-goto]");
  if (linked) {
    showLine(linked[1]);
  } else if (log) {
    showLine(log.dataset.goto);
  }
};
window.addEventListener("hashchange", openLog);

// The buttons of a log.
const tools = {
  wrap: (button, log) => {
    const wrap = log.classList.toggle("nowrap");
    button.setAttribute("aria-pressed", String(!wrap));
    localStorage.setItem("nowrap", wrap ? "yes" : "");
  },
  folds: (button, log) => {
    const folds = [...log.querySelectorAll(".fold")], open = folds.some((f) => f.open);
    for (const f of folds) f.open = !open;
    button.textContent = open ? "Unfold all" : "Fold all";
  },
  pause: (button, log) => {
    const paused = !("paused" in log.dataset);
    if (paused) log.dataset.paused = "";
    else delete log.dataset.paused;
    button.setAttribute("aria-pressed", String(paused));
  },
  end: (button, log) => {
    delete log.dataset.paused;
    document.querySelector('[data-do="pause"]')?.setAttribute("aria-pressed", "false");
    log.scrollTop = log.scrollHeight;
  },
  failure: (button) => {
    const links = [...document.querySelectorAll(".failures a[data-line]")];
    if (links.length === 0) return;
    const next = (Number(button.dataset.at ?? -1) + 1) % links.length;
    button.dataset.at = next;
    if (!showLine(links[next].dataset.line)) location.href = links[next].href;
  },
};
document.addEventListener("click", (e) => {
  const button = e.target.closest?.("[data-do]"), log = document.querySelector(".log");
  if (button && log) tools[button.dataset.do]?.(button, log);
});
const toolbox = () => {
  for (const t of document.querySelectorAll(".tools")) t.hidden = false;
};
document.addEventListener("htmx:afterSettle", toolbox);
document.addEventListener("DOMContentLoaded", () => {
  toolbox();
  const log = document.querySelector(".log"), wrap = document.querySelector('[data-do="wrap"]');
  try {
    if (log && wrap && localStorage.getItem("nowrap")) tools.wrap(wrap, log);
  } catch {} // a browser may refuse to keep anything
  openLog();
});

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

// A form is sent once.
document.addEventListener("submit", (e) => {
  if (e.target.method !== "post") return;
  if (e.target.dataset.sent) e.preventDefault();
  e.target.dataset.sent = "yes";
  for (const b of e.target.querySelectorAll("button")) b.setAttribute("aria-disabled", "true");
});

// Where the map goes on beyond what is seen, it fades.
const fade = () => {
  for (const s of document.querySelectorAll(".stream")) {
    s.classList.toggle("more-left", s.scrollLeft > 4);
    s.classList.toggle("more-right", s.scrollLeft + s.clientWidth < s.scrollWidth - 4);
  }
};
document.addEventListener("scroll", fade, { capture: true, passive: true });
window.addEventListener("resize", fade);
document.addEventListener("DOMContentLoaded", fade);
document.addEventListener("htmx:afterSettle", fade);

// Favourites come first in the list of pipelines. The browser keeps them.
const favouritesName = "penstock-favourites";
const favourites = () => {
  try {
    const all = JSON.parse(localStorage.getItem(favouritesName) ?? "[]");
    return new Set(Array.isArray(all) ? all : []);
  } catch {
    return new Set();
  }
};
const star = () => {
  const list = document.querySelector("[data-favourites]");
  if (!list) return;
  const chosen = favourites(), rows = [...list.children];
  for (const row of rows) {
    const button = row.querySelector("button.star");
    button.hidden = false;
    const is = chosen.has(row.dataset.name);
    button.textContent = is ? "★" : "☆";
    button.setAttribute("aria-pressed", is);
  }
  const place = (r) => Number(r.dataset.index) - (chosen.has(r.dataset.name) ? rows.length : 0);
  const sorted = rows.toSorted((a, b) => place(a) - place(b));
  if (sorted.every((row, i) => row === rows[i])) return; // one that is moved misses the click that is on its way
  const focused = document.activeElement;
  list.append(...sorted);
  if (list.contains(focused)) focused.focus();
};
document.addEventListener("click", (e) => {
  const row = e.target.closest("button.star")?.closest("[data-name]");
  if (!row) return;
  const chosen = favourites();
  if (!chosen.delete(row.dataset.name)) chosen.add(row.dataset.name);
  try {
    localStorage.setItem(favouritesName, JSON.stringify([...chosen]));
  } catch {
    return; // the browser keeps nothing for this site
  }
  star();
});
document.addEventListener("DOMContentLoaded", star);
document.addEventListener("htmx:afterSwap", star); // before anybody sees the rows

// What a form has done is where the reader goes on: screen readers say it.
document.addEventListener("DOMContentLoaded", () => document.querySelector(".flash")?.focus());
