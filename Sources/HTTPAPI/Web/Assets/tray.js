/** The tray: the uploads of this browser, in every view. */

import { fill, h, icon, keep, setText, showText } from "./dom.js";
import { watchDrops } from "./upload-dialog.js";
import { byteSize, percent, remaining, t } from "./words.js";

let isShown = false;

export function showTray(uploads, app) {
    if (isShown) return;
    isShown = true;
    watchDrops(uploads);
    const tray = document.getElementById("tray");
    const rows = new Map();
    const list = h("ul.tray-list", { id: "tray-list", hidden: true });
    const text = h("span");
    const bar = h("progress", { max: 100, "aria-label": t("tray.progress") });
    const toggle = h("button.tray-head", { type: "button", "aria-expanded": "false", "aria-controls": "tray-list", onclick: () => {
        list.hidden = !list.hidden;
        toggle.setAttribute("aria-expanded", String(!list.hidden));
    } }, icon("uploads"), text);
    tray.setAttribute("aria-label", t("nav.uploads"));
    fill(tray, toggle, bar, list);
    const show = () => {
        const { jobs, active } = uploads;
        tray.hidden = jobs.length === 0;
        const failed = jobs.filter((job) => job.phase === "failed").length;
        setText(text, active.length ? t("tray.active", { n: active.length }) : failed ? t("tray.failed", { n: failed }) : t("tray.done", { n: jobs.length }));
        tray.dataset.tone = failed ? "failed" : active.length ? "busy" : "done";
        const total = jobs.reduce((sum, job) => sum + job.size, 0);
        bar.value = total ? 100 * jobs.reduce((sum, job) => sum + job.sent, 0) / total : 0;
        bar.hidden = active.length === 0;
        showJobs(list, rows, uploads);
        app.showUploads(active.length);
    };
    uploads.addEventListener("change", show);
    show();
}

/** Shows the jobs in a list, which the tray and the view of the uploads both have. */
export function showJobs(list, rows, uploads) {
    keep(list, rows, uploads.jobs, { make: (job) => makeRow(job, uploads), renew: renewRow });
}

function makeRow(job, uploads) {
    const row = {
        name: h("strong"), meta: h("span.muted"), text: h("p.job-text"), bar: h("progress", { max: 100, "aria-label": t("progress-of", { name: job.name }) }),
        link: h("a.button.small", { href: `#/sessions/${job.id}` }, t("open")),
        again: h("button.button.small", { type: "button", onclick: () => uploads.again(job.id) }, t("retry")),
        cancel: h("button.button.small.quiet", { type: "button", onclick: () => uploads.cancel(job.id) }),
    };
    row.root = h("li.job", { "data-job": job.id }, h("div.job-head", row.name, row.meta), row.bar, row.text,
        h("div.session-actions", row.link, row.again, row.cancel));
    return row;
}

function renewRow(row, job) {
    const done = job.size ? 100 * job.sent / job.size : 0;
    row.root.dataset.phase = job.phase;
    setText(row.name, job.name);
    setText(row.meta, [job.patientName, byteSize(job.size)].filter(Boolean).join(" · "));
    row.bar.value = done;
    row.bar.hidden = job.phase === "done" || job.phase === "failed";
    const left = job.rate > 0 && job.phase === "sending" ? remaining((job.size - job.sent) / job.rate) : "";
    const words = t(`job.${job.phase}`, { percent: percent(Math.floor(done)) });
    showText(row.text, [words, job.phase === "failed" ? job.error : left].filter(Boolean).join(" · "));
    row.link.hidden = job.phase !== "done";
    row.again.hidden = job.phase !== "failed";
    setText(row.cancel, t(job.phase === "done" || job.phase === "failed" ? "dismiss" : "cancel"));
    for (const action of [row.link, row.again, row.cancel]) action.setAttribute("aria-label", `${action.textContent}: ${job.name}`);
}
