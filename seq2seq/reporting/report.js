"use strict";

// A word that is pointed at, tapped or focused shows its attention: data-a of a target word is "source:percent …".
function links(word) {
  return (word.dataset.a || "").split(" ").filter(Boolean).map((link) => link.split(":").map(Number));
}

function show(word) {
  const box = word.closest(".sentence");
  const sources = [...box.querySelectorAll(".src .w")], targets = [...box.querySelectorAll(".attends .w")];
  const found = targets.includes(word)
    ? links(word).map(([place, percent]) => [sources[place], percent])
    : targets.flatMap((target) => links(target).filter(([place]) => sources[place] === word)
        .map(([, percent]) => [target, percent]));
  for (const old of document.querySelectorAll(".lit, .chosen")) old.classList.remove("lit", "chosen");
  word.classList.add("chosen");
  const parts = [];
  for (const [other, percent] of found) {
    if (!other) continue;
    other.classList.add("lit");
    other.style.setProperty("--weight", percent / 100);
    parts.push(`\u2068${other.textContent}\u2069 ${percent} %`);
  }
  const confidence = word.dataset.p ? ` · confidence ${Math.round(100 * word.dataset.p)} %` : "";
  for (const old of document.querySelectorAll(".sentence output")) old.textContent = "\u00a0";
  box.querySelector("output").textContent =
    `\u2068${word.textContent}\u2069: ${parts.join(", ") || "no attention to a word"}${confidence}`;
}

function step(word, places) {
  const words = [...word.closest("bdi").querySelectorAll(".w")];
  const next = words[Math.min(Math.max(words.indexOf(word) + places, 0), words.length - 1)];
  word.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

const wordOf = (event) => event.target.closest ? event.target.closest(".w[role]") : null;
for (const kind of ["pointerover", "focusin", "click"]) {
  document.addEventListener(kind, (event) => { const word = wordOf(event); if (word) show(word); });
}
document.addEventListener("keydown", (event) => {
  const word = wordOf(event);
  if (!word) return;
  const forwards = getComputedStyle(word.closest("bdi")).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
  const places = { ArrowLeft: -1, ArrowRight: -1, Home: -Infinity, End: Infinity, [forwards]: 1 }[event.key];
  if (places === undefined) return;
  event.preventDefault();
  step(word, places);
});

// A chart names the point that is nearest to the pointer, or that the arrow keys choose.
for (const chart of document.querySelectorAll(".chart")) {
  const points = [...chart.querySelectorAll("circle")], readout = chart.querySelector("output");
  const picture = chart.querySelector("svg");
  let chosen = -1;
  const choose = (place) => {
    if (chosen >= 0) points[chosen].classList.remove("on");
    chosen = place;
    points[place].classList.add("on");
    readout.textContent = points[place].textContent;
  };
  picture.addEventListener("pointermove", (event) => {
    const away = points.map((point) => {
      const box = point.getBoundingClientRect();
      return Math.hypot(2 * (box.x + box.width / 2 - event.clientX), box.y + box.height / 2 - event.clientY);
    });
    if (points.length) choose(away.indexOf(Math.min(...away)));
  });
  picture.addEventListener("keydown", (event) => {
    const places = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!places || !points.length) return;
    event.preventDefault();
    choose(Math.min(Math.max(chosen + places, 0), points.length - 1));
  });
}
