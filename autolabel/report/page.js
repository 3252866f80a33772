"use strict";
(() => {
  const list = document.getElementById("cards");
  const controls = document.getElementById("controls");
  if (!list || !controls) return;
  const cards = [...list.querySelectorAll("article")].map((element) => ({
    element,
    text: element.querySelector("h3").textContent.toLowerCase() + " " + element.dataset.index,
    index: Number(element.dataset.index),
    low: element.dataset.low === "" ? -Infinity : Number(element.dataset.low),
    score: element.dataset.score === "" ? -Infinity : Number(element.dataset.score),
    rate: Number(element.dataset.rate),
    apart: element.dataset.apart === "yes",
    verdict: element.dataset.verdict,
  }));
  const orders = {
    low: (a, b) => b.low - a.low || a.index - b.index,
    score: (a, b) => b.score - a.score || a.index - b.index,
    worst: (a, b) => a.score - b.score || a.index - b.index,
    rate: (a, b) => b.rate - a.rate || a.index - b.index,
    rare: (a, b) => a.rate - b.rate || a.index - b.index,
    index: (a, b) => a.index - b.index,
  };
  const word = document.getElementById("word");
  const order = document.getElementById("order");
  const keep = document.getElementById("keep");
  const found = document.getElementById("found");
  const update = () => {
    const wanted = word.value.trim().toLowerCase();
    let shown = 0;
    for (const card of cards) {
      const fits = card.text.includes(wanted)
        && (keep.value === "all" || (keep.value === "apart" ? card.apart : keep.value === "not-apart" ? !card.apart : card.verdict === keep.value));
      card.element.hidden = !fits;
      shown += fits;
    }
    found.textContent = shown + " of " + cards.length + " shown";
  };
  const sort = () => {
    cards.sort(orders[order.value]);
    list.append(...cards.map((card) => card.element));
  };
  controls.hidden = false;
  word.addEventListener("input", update);
  keep.addEventListener("change", update);
  order.addEventListener("change", sort);
  update();
})();
