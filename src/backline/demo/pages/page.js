// Fetches the lists of the page again and again, and swaps what has changed in them.
"use strict";

const BUSY = 500, HIDDEN = 5000;

async function refresh() {
  try {
    const answer = await fetch("/live");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const list of fresh.querySelectorAll("[data-live]")) {
      const items = [...list.children].map((item) => {
        const shown = document.getElementById(item.id);
        return shown && shown.outerHTML === item.outerHTML ? shown : item;
      });
      document.getElementById(list.id).replaceChildren(...items);
    }
    document.querySelector("output").textContent = "";
  } catch {
    document.querySelector("output").textContent = "The service has stopped.";
  }
  setTimeout(refresh, document.hidden ? HIDDEN : BUSY);
}

document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const answer = await fetch(form.action, { method: "POST", body: new FormData(form) });
  if (answer.ok) form.reset();
  else alert(await answer.text());
});

setTimeout(refresh, BUSY);
