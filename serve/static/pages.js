// What the pages gain by JavaScript: keys, live tiles that let go when nobody sees them, and buttons that are pressed once.
// Without it every page can be read and every form works.
"use strict";

(() => {
  const KEYS_OFF = "vreid-keys-off";
  const STREAMS = 4; // at once: a browser opens six connections to a server, and the others are for the pages
  const TURN_MS = 2000; // between two pictures of a tile that has no stream
  const NOTHING = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";

  const shown = (element) => element.checkVisibility ? element.checkVisibility() : element.offsetParent !== null;
  const keysOn = () => localStorage.getItem(KEYS_OFF) === null;
  const showKeys = () => document.documentElement.classList.toggle("keys", keysOn());

  function labelOf(element) {
    const named = element.getAttribute("aria-label") || element.dataset.says;
    if (named) return named;
    const copy = element.cloneNode(true);
    copy.querySelectorAll("kbd").forEach((hint) => hint.remove());
    return (copy.textContent || element.labels?.[0]?.textContent || "").trim().replace(/\s+/g, " ");
  }

  function openHelp() {
    const dialog = document.getElementById("keys");
    if (!dialog || dialog.open) return;
    const list = dialog.querySelector("ul");
    list.replaceChildren();
    for (const element of document.querySelectorAll("[aria-keyshortcuts]")) {
      if (!shown(element)) continue;
      const row = document.createElement("li");
      const key = document.createElement("kbd");
      row.textContent = labelOf(element);
      key.textContent = element.getAttribute("aria-keyshortcuts");
      row.append(key);
      list.append(row);
    }
    dialog.querySelector("input").checked = keysOn();
    dialog.showModal();
  }

  function press(event) {
    const typing = event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea") && event.key !== "Escape";
    const taken = typing || event.isComposing || event.target.closest("select, dialog");
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented || taken || !keysOn()) return;
    const wanted = [...document.querySelectorAll("[aria-keyshortcuts]")].find(
      (element) => element.getAttribute("aria-keyshortcuts") === event.key && shown(element));
    if (!wanted) return;
    event.preventDefault();
    wanted.focus();
    if (wanted.matches("a, button")) wanted.click();
    else if (wanted.select) wanted.select();
  }

  // Live tiles: a stream for the first that are in view, pictures by turns for the others, nothing in a hidden tab.
  const seen = new Set();
  let turn = 0;

  function settle() {
    let streams = 0;
    for (const tile of document.querySelectorAll("img[data-stream]")) {
      const wanted = seen.has(tile) && !document.hidden;
      const mode = !wanted ? "off" : streams < STREAMS ? "stream" : "turns";
      if (mode === "stream") streams += 1;
      if (tile.dataset.mode === mode) continue;
      tile.dataset.mode = mode;
      tile.src = mode === "stream" ? tile.dataset.stream : mode === "turns" ? tile.dataset.still : NOTHING;
    }
  }

  function takeTurns() {
    turn += 1;
    for (const tile of document.querySelectorAll('img[data-mode="turns"]')) tile.src = `${tile.dataset.still}?turn=${turn}`;
  }

  function watchTiles() {
    const tiles = document.querySelectorAll("img[data-stream]");
    if (!tiles.length) return;
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) entry.isIntersecting ? seen.add(entry.target) : seen.delete(entry.target);
      settle();
    });
    tiles.forEach((tile) => { tile.hidden = false; observer.observe(tile); });
    document.addEventListener("visibilitychange", settle);
    addEventListener("pagehide", () => { seen.clear(); settle(); });
    setInterval(takeTurns, TURN_MS);
  }

  // A form is sent once, however often its button is pressed; one that cannot be undone is confirmed first.
  function send(event) {
    const question = event.target.dataset.confirm;
    if (question && !confirm(question)) return event.preventDefault();
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) return event.preventDefault();
    event.target.dataset.sent = "1";
  }

  document.addEventListener("DOMContentLoaded", () => {
    showKeys();
    document.querySelector(".top [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    document.querySelector("input[autofocus]")?.select();
    watchTiles();
    const help = document.getElementById("help");
    if (help) { help.hidden = false; help.addEventListener("click", openHelp); }
    document.querySelector("#keys input")?.addEventListener("change", (event) => {
      event.target.checked ? localStorage.removeItem(KEYS_OFF) : localStorage.setItem(KEYS_OFF, "1");
      showKeys();
    });
  });
  document.addEventListener("keydown", press);
  document.addEventListener("submit", send);
  addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));
  // What asks again and again stays quiet while the tab is hidden.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt.matches("[data-polls]")) event.preventDefault();
  });
  document.addEventListener("htmx:afterSettle", () => {
    document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
    settle();
  });
})();
