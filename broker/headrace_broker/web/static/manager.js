// Keys, live update and the choice of rows. Everything works without it, but less conveniently.
"use strict";

const $ = (selector) => document.querySelector(selector);
const rows = () => Array.from(document.querySelectorAll("#rows tr, main tbody:not(#rows) tr")).filter((row) => row.querySelector("a"));
let here = -1;

function move(step) {
  const all = rows();
  if (!all.length) return;
  here = Math.max(0, Math.min(all.length - 1, here + step));
  all.forEach((row, index) => row.classList.toggle("here", index === here));
  all[here].scrollIntoView({ block: "nearest" });
}

function chosen() { return Array.from(document.querySelectorAll('input[name="job_id"][type="checkbox"]:checked')); }

function showChoice() {
  const count = chosen().length;
  const label = $("#count");
  if (label) label.textContent = count ? count + " chosen" : "none chosen";
  document.querySelectorAll(".needs-choice").forEach((button) => { button.disabled = !count; });
}

let kept = new Set();
document.addEventListener("htmx:beforeSwap", () => { kept = new Set(chosen().map((box) => box.value)); });
document.addEventListener("htmx:afterSwap", () => {
  document.querySelectorAll('input[name="job_id"][type="checkbox"]').forEach((box) => { box.checked = kept.has(box.value); });
  move(0);
  showChoice();
});

function live() { return $("#live"); }
function isLive() { return live() && live().getAttribute("aria-pressed") === "true"; }
function setLive(on) {
  if (!live()) return;
  live().setAttribute("aria-pressed", on ? "true" : "false");
  live().textContent = on ? "Live" : "Paused";
  try { sessionStorage.setItem("headrace-live", on ? "on" : "off"); } catch (_) { /* no storage: the choice lasts for this page */ }
}

document.addEventListener("DOMContentLoaded", () => {
  let before = null;
  try { before = sessionStorage.getItem("headrace-live"); } catch (_) { /* as above */ }
  if (live()) {
    setLive(before !== "off");
    live().addEventListener("click", () => setLive(!isLive()));
    setInterval(() => { if (isLive() && !document.hidden && window.htmx) window.htmx.trigger("#rows", "headrace:refresh"); }, 2000);
  }
  const all = $("#all");
  if (all) all.addEventListener("change", () => {
    document.querySelectorAll('input[name="job_id"][type="checkbox"]').forEach((box) => { box.checked = all.checked; });
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
  if (domain) {
    domain.form.querySelector("button").hidden = true;  // the choice itself is enough
    domain.addEventListener("change", () => domain.form.requestSubmit());
  }
  showChoice();
});

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
