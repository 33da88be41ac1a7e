// What the dashboard adds to its pages when scripts run. Every page and form works without it.
"use strict";

// Pages make elements of text only through htmx, and only of our own answers, whose foreign texts are escaped.
const policy = globalThis.trustedTypes?.createPolicy("htmx", { createHTML: (html) => html });
htmx.registerExtension("trusted-types", { init: (api) => policy && api.initSecurity(policy) });

// Times: the reader's own time zone in the tooltip.
const localTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
function showLocalTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    time.title = localTime.format(new Date(time.dateTime));
  }
}

document.addEventListener("DOMContentLoaded", () => showLocalTimes(document));
document.addEventListener("htmx:after:swap", () => showLocalTimes(document));

// A portal link has its token in the fragment of its URL, which browsers do not send. The form sends it in its body.
function takeFragment() {
  const field = document.querySelector("input[data-from-fragment]");
  if (!field || location.hash.length < 2) return;
  field.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
}
document.addEventListener("DOMContentLoaded", takeFragment);
addEventListener("hashchange", takeFragment);

// Copies the text of the element that the button names.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(source.dataset.text ?? source.textContent);
  const status = button.querySelector("[data-copied]");
  if (status) {
    const before = status.textContent;
    status.textContent = "Copied";
    setTimeout(() => { status.textContent = before; }, 1500);
  }
});

// A filter is applied when it is changed; without scripts its form has a button.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-submit-on-change]");
  if (form) form.requestSubmit();
});

// A wide window shows an event next to the list, others on its own page.
const wide = matchMedia("(min-width: 1160px)");
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-preview]");
  const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain || !wide.matches) return;
  event.preventDefault();
  history.replaceState(null, "", link.dataset.preview);
  await htmx.ajax("GET", link.dataset.preview, { target: "#events", select: "#events", swap: "outerMorph" });
});

// Live updates. `/live` streams which resources have changed; the parts of the page that show them are requested again.
// An element with `data-live` is updated for every change, or only for that of the resource whose id it names.
const live = {
  changed: new Set(),
  pauseMs: 1000,
  retryMs: 1000,
  timer: undefined,

  start() {
    if (!document.querySelector("[data-live]")) return;
    const source = new EventSource("/live");
    source.onopen = () => {
      live.retryMs = 1000;
      live.say("Live");
      // What changed after the page was made and before the stream began is not in it.
      live.note("*");
    };
    source.onerror = () => {
      live.say("Reconnecting");
      // The browser tries again by itself unless the answer was a refusal.
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(live.start, live.retryMs);
      live.retryMs = Math.min(live.retryMs * 2, 60000);
    };
    for (const name of ["event.created", "event.updated", "destination.created", "destination.updated"]) {
      source.addEventListener(name, (message) => live.note(JSON.parse(message.data).id));
    }
    source.addEventListener("stream.reset", () => live.note("*"));
    addEventListener("pagehide", () => source.close(), { once: true });
  },

  say(state) {
    const element = document.getElementById("live-state");
    if (!element) return;
    element.hidden = false;
    element.classList.toggle("lost", state !== "Live");
    element.querySelector("[data-state]").textContent = state;
  },

  // Collects changes for a second, so that a page is not requested for each of many.
  note(id) {
    live.changed.add(id);
    live.timer ??= setTimeout(live.update, live.pauseMs);
  },

  update() {
    live.timer = undefined;
    if (document.hidden) {
      document.addEventListener("visibilitychange", live.update, { once: true });
      return;
    }
    for (const element of document.querySelectorAll("[data-live]")) {
      const id = element.dataset.live;
      if (!id || live.changed.has(id) || live.changed.has("*")) htmx.trigger(element, "live");
    }
    live.changed.clear();
  },
};
document.addEventListener("DOMContentLoaded", live.start);
addEventListener("pageshow", (event) => { if (event.persisted) live.start(); });

// On a narrow screen the navigation scrolls sideways: the current page is brought into view.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".sidebar nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
});

// Keys: one finds, two go somewhere, `?` shows them all. They do nothing while one types, and can be switched off.
const keys = {
  isGoing: false,

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    // A dialog that has been closed may have the focus until the next frame.
    if (event.target.closest("input, select, textarea, [contenteditable], dialog[open]")) return;
    if (event.key === "?") {
      keys.help();
      return;
    }
    if (localStorage.getItem("keys") === "off") return;
    const link = keys.isGoing && [...document.querySelectorAll("nav a[data-key]")].find((a) => a.dataset.key === event.key);
    keys.isGoing = event.key === "g";
    if (event.key === "/") {
      const search = document.querySelector("[role=search]");
      const field = search?.querySelector("input[type=search]") ?? search?.querySelector("input:not([type=hidden], [type=date]), select");
      if (field) field.focus();
      else document.querySelector('nav a[data-key="e"]')?.click();
      event.preventDefault();
    } else if (link) {
      link.click();
    }
  },

  help() {
    const dialog = document.getElementById("keys");
    if (!dialog || dialog.open) return;
    dialog.querySelector("input").checked = localStorage.getItem("keys") !== "off";
    dialog.showModal();
  },
};
document.addEventListener("keydown", keys.press);
document.addEventListener("change", (event) => {
  if (event.target.matches("#keys input")) localStorage.setItem("keys", event.target.checked ? "on" : "off");
});
