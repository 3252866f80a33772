"use strict";
(() => {
  const main = document.getElementById("audit");
  const items = [...main.querySelectorAll("article")];
  const left = document.getElementById("left");
  const buttons = ["save-json", "save-csv"].map((id) => document.getElementById(id));
  let saved = true;
  const answers = () => items.map((element) => ({
    item: Number(element.dataset.item),
    verdict: (element.querySelector("input[type=radio]:checked") || { value: "" }).value,
    note: element.querySelector(".note input").value.trim(),
  }));
  const update = () => {
    const open = answers().filter((answer) => answer.verdict === "").length;
    left.textContent = open === 0 ? "All items are judged." : open + (open === 1 ? " item is left." : " items are left.");
    buttons.forEach((button) => { button.disabled = open > 0; });
  };
  const save = (text, kind, ending) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: kind }));
    link.download = "answers-" + main.dataset.audit.slice(0, 12) + ending;
    link.click();
    saved = true;
  };
  // A cell that begins like a formula would be run by a spreadsheet.
  const cell = (value) => '"' + String(value).replace(/^[=+\-@\t\r]/, "'$&").replace(/"/g, '""') + '"';
  document.getElementById("save-json").addEventListener("click", () => save(JSON.stringify({
    format: "autolabel-audit-answers-1", audit_id: main.dataset.audit, answers: answers(),
  }, null, 1), "application/json", ".json"));
  document.getElementById("save-csv").addEventListener("click", () => save(
    ["audit_id,item,verdict,note", ...answers().map((a) => [main.dataset.audit, a.item, a.verdict, a.note].map(cell).join(","))]
      .join("\r\n") + "\r\n", "text/csv", ".csv"));
  main.addEventListener("input", () => { saved = false; update(); });
  window.addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
  update();
})();
