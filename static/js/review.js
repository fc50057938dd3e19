/* Keyboard of the fee review: j/k lines (and on to the next case), p pass, c cut, r return.
   Every one of them is a button or link of the page; without this file nothing is missing. */
(() => {
    "use strict";
    const lines = [...document.querySelectorAll("[data-line]")];
    const cases = [...document.querySelectorAll("[data-case]")];
    const typing = (element) => element.closest("input, textarea, select, [contenteditable]");
    const now = () => lines.findIndex((line) => line.contains(document.activeElement));

    const go = (step) => {
        const next = now() + step;
        if (next >= 0 && next < lines.length) {
            lines[next].focus();
            lines[next].scrollIntoView({ block: "nearest" });
            return;
        }
        const here = cases.findIndex((link) => link.hasAttribute("aria-current"));
        const other = cases[here + step];
        if (other && next !== -1 - (step < 0 ? 1 : 0)) other.click();
    };
    const current = () => lines[Math.max(now(), 0)];
    const acts = {
        j: () => go(1),
        k: () => go(-1),
        p: () => current()?.querySelector("[data-pass]")?.click(),
        c: () => {
            const cut = current()?.querySelector("[data-cut]");
            if (!cut) return;
            cut.open = true;
            cut.querySelector("input").select();
        },
        r: () => {
            const back = document.querySelector("[data-act=return], [data-act=send_back]");
            if (!back) return;
            back.open = true;
            back.querySelector("textarea").focus();
        },
    };
    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
        const act = acts[event.key];
        if (!act) return;
        event.preventDefault();
        act();
    });
    /* After a verdict the page comes back at the next line: the keyboard goes on from there. */
    const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
    if (target && target.matches("[data-line]")) target.focus();
    /* A narrow screen begins with the visit, not with the queue. */
    const queue = document.querySelector("[data-queue]");
    if (queue && matchMedia("(max-width: 1100px)").matches) queue.open = false;
})();
