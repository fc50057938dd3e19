/* 事前提醒: shows the hints of POST /api/v1/prechecks inside a hospital's own page.

   Copy this file into the hospital's system. Its server asks the portal with its own token (a token
   never reaches a browser) and hands the answer to Precheck.show(element, answer). */
window.Precheck = (() => {
    "use strict";

    const TONES = { grave: "bad", doubt: "warn", remind: "info" };
    const WORDS = { grave: "严重", doubt: "可疑", remind: "提示" };

    const made = (tag, text, name) => {
        const element = document.createElement(tag);
        if (text) element.textContent = text;
        if (name) element.className = name;
        return element;
    };

    const item = (hint) => {
        const row = made("li", "", `notice notice--${TONES[hint.severity]}`);
        const body = made("div", "", "notice__body");
        body.append(made("strong", `${WORDS[hint.severity]}：${hint.message}`));
        const cited = `${hint.clause.document} ${hint.clause.clause} ${hint.clause.text}`;
        body.append(made("p", hint.lines.length ? `第 ${hint.lines.join("、")} 行。${cited}` : cited));
        row.append(body);
        return row;
    };

    /* Replaces what `element` shows by the hints of an answer; it is announced to screen readers. */
    const show = (element, answer) => {
        element.setAttribute("role", "status");
        if (!answer.hints.length) {
            element.replaceChildren(made("p", "没有提示：可以提交。", "quiet"));
            return;
        }
        const list = made("ul", "", "stack precheck-hints");
        list.append(...answer.hints.map(item));
        element.replaceChildren(list);
    };

    /* The sample page: every form[data-precheck] shows its answer without leaving the page. */
    document.addEventListener("submit", async (event) => {
        const form = event.target.closest("form[data-precheck]");
        if (!form) return;
        event.preventDefault();
        const target = document.getElementById(form.dataset.precheck);
        const reply = await fetch(form.action, {
            method: "POST", body: new FormData(form), headers: { Accept: "application/json" },
        });
        const answer = await reply.json();
        if (reply.ok) {
            show(target, answer);
        } else {
            const told = (answer.errors || []).map((fault) => `${fault.pointer} ${fault.detail}`);
            target.replaceChildren(made("p", [answer.detail, ...told].join("；"), "field__error"));
        }
    });

    return { show };
})();
