/** The uploads of this browser, with a place to drop files. */

import { button, fill, h } from "./dom.js";
import { showJobs } from "./tray.js";
import { t } from "./words.js";

export function mount(root, context) {
    const { uploads } = context;
    context.title(t("nav.uploads"));
    const rows = new Map();
    const list = h("ul.jobs");
    const empty = h("p.muted", t("uploads.empty"));
    const zone = h("div.drop-zone", h("p.drop-title", t("upload.drop")), button(t("upload.choose"), { kind: "primary", onclick: () => uploads.ask() }),
        h("p.muted", t("uploads.hint")));
    fill(root, h("div.view-head", h("h1", { tabIndex: -1 }, t("nav.uploads"))), zone, list, empty);
    const show = () => {
        showJobs(list, rows, uploads);
        empty.hidden = uploads.jobs.length > 0;
    };
    uploads.addEventListener("change", show);
    show();
    return { close: () => uploads.removeEventListener("change", show) };
}
