/* Small comforts. Every page works without this file. */
(() => {
    "use strict";

    /* 已选 n 项: count, select all on the page, disable bulk actions while nothing is selected. */
    const selection = (form) => {
        const boxes = [...document.querySelectorAll(`.pick[form="${form.id}"][name="selected"]`)];
        const all = document.querySelector(`.pick[data-all="${form.id}"]`);
        const everything = form.querySelector("[name=all_matching]");
        const chosen = boxes.filter((box) => box.checked).length;
        form.querySelector("[data-chosen]").textContent = String(chosen);
        if (all) {
            all.checked = chosen > 0 && chosen === boxes.length;
            all.indeterminate = chosen > 0 && chosen < boxes.length;
        }
        const idle = chosen === 0 && !(everything && everything.checked);
        form.querySelectorAll("button").forEach((button) => { button.disabled = idle; });
    };
    const refresh = () => document.querySelectorAll("form[data-selection]").forEach(selection);
    document.addEventListener("change", (event) => {
        const master = event.target.dataset.all;
        if (master) {
            document.querySelectorAll(`.pick[form="${master}"][name="selected"]`)
                .forEach((box) => { box.checked = event.target.checked; });
        }
        if (event.target.matches(".pick")) refresh();
    });

    /* Escape closes an open clause and gives the focus back to its chip. */
    document.addEventListener("keydown", (event) => {
        if (event.key !== "Escape") return;
        const open = event.target.closest("details.clause[open]");
        if (open) {
            open.open = false;
            open.querySelector("summary").focus();
        }
    });

    /* A press of the print button. */
    document.addEventListener("click", (event) => {
        if (event.target.closest("[data-print]")) print();
    });

    /* After a partial update say what changed; the focus stays on the element of the same id. */
    document.addEventListener("htmx:afterSettle", (event) => {
        refresh();
        const told = event.target.closest("[data-announce]") || event.target.querySelector("[data-announce]");
        const live = document.getElementById("live");
        if (told && live) live.textContent = told.dataset.announce;
    });
    /* On a narrow screen the row of tabs begins where the present one can be seen. */
    document.querySelectorAll(".tabs [aria-current]").forEach((tab) => {
        const row = tab.closest(".tabs");
        row.scrollLeft = tab.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2;
    });
    /* Selections cannot be restored by the browser's back button without being counted again. */
    addEventListener("pageshow", refresh);
    refresh();
})();
