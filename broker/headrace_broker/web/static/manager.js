// Keys, live update and the choice of rows. Everything works without it, but less conveniently.
"use strict";

const $ = (selector) => document.querySelector(selector);
const rows = () => Array.from(document.querySelectorAll("#rows tr, main tbody:not(#rows):not(#lines) tr")).filter((row) => row.querySelector("a"));
const boxes = () => Array.from(document.querySelectorAll('input[name="job_id"][type="checkbox"]'));
let here = -1;

function move(step) {
  const all = rows();
  if (!all.length) return;
  here = Math.max(0, Math.min(all.length - 1, here + step));
  all.forEach((row, index) => row.classList.toggle("here", index === here));
  all[here].scrollIntoView({ block: "nearest" });
}

// The choice of rows -----------------------------------------------------------------------------------------------------------------------

const chosen = () => boxes().filter((box) => box.checked);

function showChoice() {
  const count = chosen().length;
  const label = $("#count");
  if (label) label.textContent = count ? count + " chosen" : "none chosen";
  document.querySelectorAll(".needs-choice").forEach((button) => { button.disabled = !count; });
}

let kept = new Set();

// Live update ------------------------------------------------------------------------------------------------------------------------------
// What has data-live asks for itself anew every two seconds, or as seldom as it says there (in seconds). It pauses by the button or the key, stays paused for this tab
// of the browser, and rests while nobody looks.

let tailAt = "", ended = false;
const live = () => $("#live");
const isLive = () => live() && live().getAttribute("aria-pressed") === "true" && !ended;

function setLive(on) {
  if (!live() || ended) return;
  live().setAttribute("aria-pressed", on ? "true" : "false");
  live().textContent = on ? "Live" : "Paused";
  try { sessionStorage.setItem("headrace-live", on ? "on" : "off"); } catch (_) { /* no storage: the choice lasts for this page */ }
}

// A page that could not be made asks whether it can be now, and loads itself anew then.
let asking = false;

function tryAgain() {
  if (asking) return;
  asking = true;
  fetch(location.href, { method: "HEAD", headers: { "HX-Request": "true" }, cache: "no-store", signal: AbortSignal.timeout(15000) })
    .then((answer) => { if (answer.status < 500) location.reload(); })
    .catch(() => { /* the broker itself is away */ })
    .finally(() => { asking = false; });
}

// A part that could not be brought up to date stays as it is, and a line says since when and why.
let fresh = new Date();

function stale(why) {
  const line = $("#stale");
  if (!line) return;
  line.textContent = "Not up to date since " + fresh.toLocaleTimeString() + ": " + why + " It is tried again.";
  line.hidden = false;
}

document.addEventListener("htmx:responseError", (event) => stale(event.detail.xhr.responseText.slice(0, 300).replace(/[^.]$/, "$&.")));
for (const silence of ["htmx:sendError", "htmx:timeout"]) document.addEventListener(silence, () => stale("the broker does not answer."));
document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.successful) return;
  fresh = new Date();
  if ($("#stale")) $("#stale").hidden = true;
});

const opened = Date.now(), asked = {};

function refresh() {
  if (!isLive() || document.hidden || !window.htmx) return;
  if ($("#retry")) return tryAgain();
  document.querySelectorAll("[data-live]").forEach((part) => {
    if (Date.now() - (asked[part.id] || opened) < Number(part.dataset.live) * 1000) return;
    asked[part.id] = Date.now();
    if (!part.querySelector("details.act[open]")) window.htmx.trigger(part, "headrace:refresh"); // somebody fills in a form
  });
}

// The forms above a job are those of its state. One that somebody fills in stays when that changes; once it is folded up, those of the new state take its place.
let behind = false;
const filledIn = () => $("#actions details.act[open]");
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  if (event.detail.target.id !== "actions") return;
  behind = Boolean(filledIn());
  event.detail.shouldSwap = !behind;
});

// What had the focus has it again after its part was replaced.
let focused = "";
const mark = (element) => [element.tagName, element.getAttribute("href") || element.textContent, element.name, element.value].join("|");

let scrolled = {}, atEnd = false;
const scrollers = () => Array.from(document.querySelectorAll(".scroll[id]"));
document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.id === "lines") event.detail.parameters.after = tailAt || event.detail.elt.dataset.after;
  if (event.detail.elt.id === "part" && behind && !filledIn()) event.detail.parameters.was = event.detail.parameters.seen = "";
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const at = document.activeElement;
  focused = at && event.detail.target && event.detail.target.contains(at) ? mark(at) : "";
  kept = new Set(chosen().map((box) => box.value));
  scrolled = Object.fromEntries(scrollers().map((box) => [box.id, [box.scrollLeft, box.scrollTop]]));
  const log = $("#log-box");
  atEnd = Boolean(log) && log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
});
document.addEventListener("htmx:afterSwap", () => {
  boxes().forEach((box) => { box.checked = kept.has(box.value); });
  scrollers().forEach((box) => { if (scrolled[box.id]) [box.scrollLeft, box.scrollTop] = scrolled[box.id]; });
  if (focused && document.activeElement === document.body) {
    const again = Array.from(document.querySelectorAll("main :is(a, button, input, summary)")).find((element) => mark(element) === focused);
    if (again) again.focus({ preventScroll: true });
  }
  const log = $("#log-box");
  if (log) {
    const lines = $("#lines").rows;
    while (lines.length > 5000) lines[0].remove();
    if (lines.length && $("#no-lines")) $("#no-lines").remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  }
  if (here >= 0) move(0);
  showChoice();
});
document.addEventListener("headrace:tail", (event) => {
  tailAt = event.detail.at;
  if (event.detail.ended && live()) {
    ended = true;
    live().textContent = "Ended";
    live().title = "The job has settled: its log is whole";
    live().disabled = true;
  }
});

// Times ------------------------------------------------------------------------------------------------------------------------------------

function span(seconds) {
  if (seconds < 0.00995) return (seconds * 1000).toFixed(1) + " ms";
  if (seconds < 0.0995) return (seconds * 1000).toFixed(0) + " ms";
  for (const [limit, unit, name] of [[10, 1, "s"], [120, 1, "s"], [7200, 60, "min"], [172800, 3600, "h"], [Infinity, 86400, "d"]]) {
    if (seconds < limit) return (seconds / unit).toFixed(limit === 10 ? 2 : 0) + " " + name;
  }
  return "";
}

function tellTimes() {
  document.querySelectorAll("time[data-ago]").forEach((time) => {
    const away = (Date.now() - Date.parse(time.dateTime)) / 1000;
    if (Math.abs(away) < 10) return;
    time.textContent = away < 0 ? "in " + span(-away) : span(away) + " ago";
  });
}

document.addEventListener("DOMContentLoaded", () => {
  let before = null;
  try { before = sessionStorage.getItem("headrace-live"); } catch (_) { /* as above */ }
  if (live()) {
    setLive(before !== "off");
    live().addEventListener("click", () => setLive(!isLive()));
    setInterval(refresh, 2000);
  }
  setInterval(tellTimes, 10000);
  if ($("#log-box")) $("#log-box").scrollTop = $("#log-box").scrollHeight;
  const all = $("#all");
  if (all) all.addEventListener("change", () => {
    boxes().forEach((box) => { box.checked = all.checked; });
    showChoice();
  });
  document.addEventListener("change", (event) => { if (event.target.name === "job_id") showChoice(); });
  const help = $("#help");
  if ($("#help-button")) $("#help-button").addEventListener("click", () => help.showModal());
  const copy = $("#copy");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", () => navigator.clipboard.writeText($("#secret").value).then(() => { copy.textContent = "Copied"; }));
  }
  const domain = $("#domain select");
  if (domain) { // a choice by mouse or finger is enough; who chooses by keys passes others on the way
    let pointed = false;
    domain.addEventListener("pointerdown", () => { pointed = true; });
    domain.addEventListener("keydown", () => { pointed = false; });
    domain.addEventListener("change", () => { if (pointed) domain.form.requestSubmit(); });
  }
  showChoice();
});

// A second click while the first is under way would do the same again, and hide the answer to the first: a secret that is shown once.
document.addEventListener("submit", (event) => {
  const form = event.target, now = Date.now();
  if (form.method !== "post") return;
  if (now - Number(form.dataset.sent || 0) < 3000) event.preventDefault();
  else form.dataset.sent = String(now);
});
window.addEventListener("pageshow", showChoice); // a browser that goes back has rows chosen still

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
  const row = rows()[here];
  const box = row && row.querySelector('input[type="checkbox"]');
  if (event.key === "/" && $("#filter")) { event.preventDefault(); $("#filter").focus(); }
  else if (event.key === "?" && $("#help")) $("#help").showModal();
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "x" && box) { box.checked = !box.checked; showChoice(); }
  else if (event.key === "o" && row) row.querySelector("a").click();
  else if (event.key === "p") setLive(!isLive());
});
