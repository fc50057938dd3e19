/* Runs before the first paint: the reader's choice of light or dark, else the system's. */
(() => {
    "use strict";
    const root = document.documentElement;
    const system = matchMedia("(prefers-color-scheme: dark)");
    const chosen = () => {
        try { return localStorage.getItem("theme"); } catch { return null; }
    };
    const show = () => {
        const theme = chosen();
        if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
        root.dataset.shade = theme || (system.matches ? "dark" : "light");
    };
    root.dataset.js = "";
    show();
    system.addEventListener("change", show);
    addEventListener("storage", show);
    document.addEventListener("click", (event) => {
        if (!event.target.closest("[data-theme-switch]")) return;
        try {
            localStorage.setItem("theme", root.dataset.shade === "dark" ? "light" : "dark");
        } catch {
            return;
        }
        show();
    });
})();
