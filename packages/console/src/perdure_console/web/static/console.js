"use strict";
// The page works without this. It adds: changes as they come, the selection, the theme, the slider.

const theme = document.getElementById("theme");
const root = document.documentElement;
const kept = localStorage.getItem("perdure-theme");
if (kept) root.dataset.theme = kept;
theme.hidden = false;
theme.addEventListener("click", () => {
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("perdure-theme", root.dataset.theme);
});

// The address of a filtered table has only the filters that are used.

document.querySelector(".filters")?.addEventListener("submit", (event) => {
  for (const field of event.target.querySelectorAll("input:not([type=checkbox])")) {
    field.disabled = field.value === "";
  }
});

// The selection of instances

function boxes() {
  return [...document.querySelectorAll('#rows input[name="id"]')];
}

function showSelection() {
  const bar = document.getElementById("selected");
  if (!bar) return;
  const count = boxes().filter((each) => each.checked).length;
  for (const button of bar.querySelectorAll("button")) button.disabled = count === 0;
  document.getElementById("count").textContent =
    count === 0 ? "Select instances to act on several at once" : `${count} selected`;
  const all = document.getElementById("all");
  if (all) {
    all.checked = count > 0 && count === boxes().length;
    all.indeterminate = count > 0 && !all.checked;
  }
}

document.addEventListener("change", (event) => {
  const target = event.target;
  if (target.id === "all") for (const each of boxes()) each.checked = target.checked;
  if (target.matches(".segments input, [data-submits]")) target.form.requestSubmit();
  showSelection();
});
showSelection();

// Changes as they come: the page fetches itself and takes over the regions that differ.

let fetching = false;
let stale = false;

async function refresh() {
  if (fetching || document.hidden) {
    stale = true;
    return;
  }
  fetching = true;
  stale = false;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The stream asks again when the server is back.
  } finally {
    fetching = false;
    if (stale && !document.hidden) setTimeout(refresh, 250);
  }
}

function takeOver(fresh) {
  for (const region of document.querySelectorAll("[data-region]")) {
    const next = fresh.getElementById(region.id);
    if (!next || next.innerHTML === region.innerHTML) continue;
    const opened = new Map(
      [...region.querySelectorAll("details[data-key]")].map((each) => [each.dataset.key, each.open]),
    );
    const ticked = new Set(boxes().filter((each) => each.checked).map((each) => each.value));
    const focused = region.contains(document.activeElement) ? document.activeElement : null;
    const href = focused && focused.getAttribute("href");
    const scrolled = region.querySelector(".scroll, .timeline");
    const left = scrolled ? scrolled.scrollLeft : 0;
    region.replaceChildren(...document.adoptNode(next).childNodes);
    for (const each of region.querySelectorAll("details[data-key]")) {
      if (opened.has(each.dataset.key)) each.open = opened.get(each.dataset.key);
    }
    for (const each of boxes()) each.checked = ticked.has(each.value);
    const now = region.querySelector(".scroll, .timeline");
    if (now) now.scrollLeft = left;
    if (href) region.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
  }
  showSelection();
}

const live = document.body.dataset.live;
if (live) {
  const pulse = document.getElementById("pulse");
  const stream = new EventSource(live);
  const show = (isHere) => {
    pulse.classList.toggle("away", !isHere);
    pulse.querySelector(".word").textContent = isHere ? "live" : "away";
  };
  stream.addEventListener("open", () => show(true));
  stream.addEventListener("error", () => show(false));
  stream.addEventListener("change", refresh);
  document.addEventListener("visibilitychange", () => stale && refresh());
  addEventListener("pagehide", () => stream.close());
}
