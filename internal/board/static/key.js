// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0
"use strict";

// Pages load this before their forms are there: one that is sent early has the key, too.

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

document.addEventListener("submit", (e) => {
  if (e.target.method === "post") sign(e.target);
});

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
