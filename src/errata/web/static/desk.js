// Keys for everything, and marking in texts. All pages also work without this file.
"use strict";
const typing = (e) => e.target.closest("input:not([type=radio]):not([type=checkbox]), textarea, select");
const press = (node) => { if (node && !node.disabled) { node.click(); return true; } return false; };
let before = "";

function move(step) {
  const rows = [...document.querySelectorAll("table.rows a.row")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  const next = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
  document.querySelectorAll("tr.current").forEach((row) => row.classList.remove("current"));
  next.closest("tr").classList.add("current");
  next.focus();
}

document.addEventListener("keydown", (e) => {
  if ((e.ctrlKey || e.metaKey) && e.key === "Enter") {
    const form = e.target.closest("form") || document.querySelector("form[data-rate]");
    if (form) { e.preventDefault(); form.requestSubmit(); }
    return;
  }
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || document.querySelector("dialog[open]")) return;
  if (typing(e)) { if (e.key === "Escape") e.target.blur(); return; }
  const last = before;
  before = e.key;
  if (last === "g" && /^[1-9]$/.test(e.key)) {
    e.preventDefault();
    return void press(document.querySelectorAll("header nav a")[Number(e.key) - 1]);
  }
  if (e.key === "?") return void document.getElementById("keys").showModal();
  if (e.key === "/") {
    const box = document.querySelector("input[type=search]");
    if (box) { e.preventDefault(); box.focus(); }
  } else if (e.key === "j") move(1);
  else if (e.key === "k") move(-1);
  else if (e.key === "e") { const box = document.getElementById("write"); if (box) { e.preventDefault(); box.focus(); } }
  else if (e.key === "m") { if (press(document.getElementById("mark"))) e.preventDefault(); }
  else if (document.querySelector("form[data-rate]") && /^[1-9]$/.test(e.key)) answer(Number(e.key));
  else if (/^[1-9su]$/.test(e.key)) { if (press(document.querySelector(`[data-key="${e.key}"]`))) e.preventDefault(); }
});

// A digit answers the first question that is open; the next one is then open.
function answer(number) {
  for (const set of document.querySelectorAll("form[data-rate] fieldset")) {
    const choices = [...set.querySelectorAll("input[type=radio]")];
    if (choices.length && !choices.some((one) => one.checked)) {
      if (choices[number - 1]) { choices[number - 1].checked = true; choices[number - 1].focus(); }
      return;
    }
  }
}

// What a person marks in a text becomes fields of the form.
function hidden(name, value) {
  const field = document.createElement("input");
  field.type = "hidden"; field.name = name; field.value = value;
  return field;
}

let missed = 0;
function miss(list, tag, value) {
  const row = document.createElement("li"), off = document.createElement("button"), number = missed++;
  off.type = "button"; off.className = "off"; off.textContent = "×"; off.ariaLabel = list.dataset.off;
  row.append(`${tag}: ${value} `, off, hidden(`tag${number}`, tag), hidden(`value${number}`, value));
  list.append(row);
}

document.addEventListener("click", (e) => {
  const mark = e.target.closest("button.mark");
  if (mark) {
    mark.setAttribute("aria-pressed", mark.getAttribute("aria-pressed") !== "true");
    const pressed = [...document.querySelectorAll("button.mark[aria-pressed=true]")];
    document.querySelector("input[name=spared]").value = pressed.map((one) => one.dataset.mark).join(" ");
    return;
  }
  if (e.target.closest("#misses button.off")) return void e.target.closest("li").remove();
  if (e.target.closest("#mark")) {
    const box = document.getElementById("value"), list = document.getElementById("misses");
    const chosen = String(document.getSelection()).trim() || box.value.trim();
    if (!chosen) { box.focus(); return; }
    miss(list, document.getElementById("tag").value, chosen);
    box.value = "";
    document.getSelection().removeAllRanges();
  }
});

// What was typed into a form that is refused stands there again beside the refusal.
document.addEventListener("submit", (e) => {
  const form = e.target;
  if (form.getAttribute("method") !== "post" || form.querySelector("[type=password]")) return;
  const told = [...new FormData(form)].filter(([name]) => !["csrf", "confirm"].includes(name));
  sessionStorage.setItem("typed", JSON.stringify([form.getAttribute("action"), told]));
});

function again(action, told) {
  const was = Object.fromEntries(told);
  for (const form of document.querySelectorAll("form[method=post]")) {
    const about = form.querySelector("[name=id]");
    if (form.getAttribute("action") !== action || (about && about.value !== was.id)) continue;
    for (const field of form.querySelectorAll("input:not([type=hidden]), textarea, select")) {
      if (!(field.name in was)) continue;
      if (field.type === "radio" || field.type === "checkbox") field.checked = field.value === was[field.name];
      else field.value = was[field.name];
      field.closest("details")?.setAttribute("open", "");
    }
    const list = form.querySelector("#misses");
    for (let n = 0; list && n < 20; n++) if (`value${n}` in was) miss(list, was[`tag${n}`], was[`value${n}`]);
    if (list) for (const mark of form.querySelectorAll("button.mark"))
      if ((was.spared || "").split(" ").includes(mark.dataset.mark)) mark.click();
  }
}
const typed = JSON.parse(sessionStorage.getItem("typed"));
sessionStorage.removeItem("typed");
if (typed && document.querySelector("main > .note.bad[role=alert]")) again(...typed);
