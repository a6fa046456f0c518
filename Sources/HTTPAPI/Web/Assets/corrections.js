/** Corrects the words and the speakers of a final transcript. The server keeps the earlier version. */

import { request } from "./api.js";
import { button, field, fill, h, setText } from "./dom.js";
import { t, timecode } from "./words.js";

/** Turns the passages in `list` into fields. Calls `onSaved` or `onCancel` at the end. */
export function correct({ id, segments, etag, bar, list, onSaved, onCancel }) {
    const speakers = [...new Set(segments.map((segment) => segment.speaker).filter(Boolean))];
    const names = h("datalist", { id: "speaker-names" }, speakers.map((name) => h("option", { value: name })));
    const rows = segments.map((segment, index) => {
        const label = t("correct.passage", { time: timecode(segment.start) });
        const text = h("textarea", { value: segment.text, rows: Math.max(1, Math.ceil(segment.text.length / 44)), "aria-label": label });
        const speaker = h("input", { value: segment.speaker ?? "", maxLength: 200, list: "speaker-names", placeholder: t("speaker"), "aria-label": `${t("speaker")}, ${timecode(segment.start)}` });
        return { index, segment, text, speaker, root: h("div.passage.editing", { "data-index": String(index) }, h("span.passage-time", timecode(segment.start)), speaker, text) };
    });
    const changes = () => rows.flatMap(({ index, segment, text, speaker }) => {
        const change = { index };
        if (text.value !== segment.text) change.text = text.value;
        if (speaker.value.trim() !== (segment.speaker ?? "")) change.speaker = speaker.value.trim() || null;
        return Object.keys(change).length > 1 ? [change] : [];
    });

    const renames = speakers.map((name) => {
        const box = field({ label: t("speaker.rename", { name }), name, value: name, maxLength: 200 });
        box.querySelector("input").addEventListener("change", (event) => {
            const next = event.target.value.trim();
            for (const row of rows) if (row.segment.speaker === name && next) row.speaker.value = next;
            count();
        });
        return box;
    });
    const error = h("p.field-error", { role: "alert" });
    const save = button("", { kind: "primary", onclick: () => send() });
    const count = () => {
        const n = changes().length;
        setText(save, t("correct.save", { n }));
        save.disabled = n === 0;
    };
    const send = async () => {
        save.disabled = true;
        try {
            await request("PATCH", `/api/sessions/${id}/transcript`, { body: { segments: changes() }, headers: { "If-Match": etag } });
            await onSaved();
        } catch (problem) {
            setText(error, problem.status === 412 ? t("correct.conflict") : problem.message);
            save.disabled = false;
        }
    };
    list.addEventListener("input", count);
    fill(bar, h("p.muted", t("correct.hint")), renames.length > 0 && h("div.speaker-names", renames), error,
        h("div.session-actions", save, button(t("cancel"), { kind: "quiet", onclick: () => onCancel() })), names);
    bar.hidden = false;
    fill(list, rows.map((row) => row.root));
    count();
    rows[0]?.text.focus();
}
