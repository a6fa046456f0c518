/** Which therapist sees which patient. For administrators. */

import { assignmentsOf } from "./assignments.js";
import { fill, h } from "./dom.js";
import { picker } from "./picker.js";
import { t } from "./words.js";

export async function mount(root, context) {
    await context.loadWords("admin-words");
    context.title(t("nav.assignments"));
    const card = h("section.card", { hidden: true });
    const hint = h("div.empty", h("h2", t("assignments.choose")), h("p.muted", t("assignments.choose.hint")));
    const choose = picker(context, {
        label: t("role.therapist"), path: "/api/therapists", onPick: (person) => context.query({ therapist: person.id }),
    });
    fill(root, h("div.view-head", h("h1", { tabIndex: -1 }, t("nav.assignments"))), h("div.block", choose), card, hint);
    let shown = null;
    const show = async (id) => {
        if (id === shown) return;
        shown = id;
        card.hidden = true;
        hint.hidden = Boolean(id);
        if (!id) return;
        const [therapist, assignments] = await Promise.all([
            context.get(`/api/users/${encodeURIComponent(id)}`, { signal: context.signal }), assignmentsOf(context, id),
        ]);
        if (shown !== id) return; // another one was chosen meanwhile
        choose.querySelector("input").value = therapist.full_name;
        fill(card, h("h2", h("a", { href: `#/people?person=${id}` }, t("assignments.patients", { name: therapist.full_name }))), assignments);
        card.hidden = false;
    };
    await show(context.route.query.get("therapist"));
    return { navigated: (query) => show(query.get("therapist")).catch(context.fail) };
}
