/** The assignments of one therapist: who sees which patient. For administrators, in two views. */

import { button, confirmation, fill, h } from "./dom.js";
import { picker } from "./picker.js";
import { date, t } from "./words.js";

/** The patients of a therapist, with the dates, and a field to assign another one. */
export async function assignmentsOf(context, therapistId) {
    const list = h("ul.sign-ins");
    const root = h("div");
    const path = (patient) => `/api/therapists/${encodeURIComponent(therapistId)}/patients/${encodeURIComponent(patient.id)}`;
    const assign = async (patient) => {
        await context.request("PUT", path(patient));
        context.toast(t("assignments.done", { name: patient.full_name }));
        await load();
    };
    const end = (patient) => confirmation({
        title: t("assignments.end.title", { name: patient.full_name }), text: t("assignments.end.text"), action: t("assignments.end"),
        onSubmit: async () => {
            await context.request("DELETE", path(patient));
            await load();
        },
    });
    const load = async () => {
        const { items } = await context.get(`/api/therapists/${encodeURIComponent(therapistId)}/patients`, { signal: context.signal });
        // The active ones first, and among them the latest.
        items.sort((a, b) => b.is_active - a.is_active || (a.started_at < b.started_at ? 1 : -1));
        fill(list, items.length === 0 ? h("li", h("p.muted", t("assignments.none"))) : items.map((item) => h("li", { "data-patient": item.patient.id },
            h("div", h("strong", item.patient.full_name), h("p.muted", [item.patient.email, periodOf(item)].join(" · "))),
            item.is_active ? button(t("assignments.end"), { kind: "small", "aria-label": t("assignments.end.of", { name: item.patient.full_name }), onclick: () => end(item.patient) })
                : button(t("assignments.again"), { kind: "small", "aria-label": t("assignments.again.of", { name: item.patient.full_name }), onclick: () => assign(item.patient).catch(context.fail) }))));
    };
    fill(root, picker(context, { label: t("assignments.add"), path: "/api/patients", onPick: (patient) => assign(patient).catch(context.fail), clears: true }), list);
    await load();
    return root;
}

function periodOf({ is_active, started_at, ended_at }) {
    return is_active ? t("assignments.since", { at: date(started_at) }) : t("assignments.ended", { at: date(ended_at) });
}
