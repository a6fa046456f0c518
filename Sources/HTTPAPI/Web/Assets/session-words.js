/** What the lists say of a session, for professionals and, in plain words, for the patient. */

import { button, h, setText, showText } from "./dom.js";
import { activity, date, dateTime, estimate, failureWords, has, isUnfinished, percent, remaining, statusWords, t } from "./words.js";

/** The name of a session: for its patient the date, for others the patient's name. */
export function nameOf(session, user) {
    if (user.role === "patient") return date(session.session_date ?? session.created_at);
    return session.patient_name ?? t("patient.unnamed");
}

/** The time of a session. Without one, the time of its upload stands for it. */
export const timeOf = (session) => session.session_date ?? session.created_at;

/** The words of the status for this user. */
export function statusFor(session, user) {
    const { status } = session.progress;
    const words = statusWords(status);
    const key = `plain.${status}`;
    return user.role === "patient" && has(key) ? { ...words, label: t(key) } : words;
}

/** "Turning speech into text", or for a patient "Being written down, ready in about 3 min". */
export function activityFor(session, user) {
    if (user.role !== "patient") return activity(session);
    const { status, estimated_time_remaining: left } = session.progress;
    const label = has(`plain.${status}`) ? t(`plain.${status}`) : statusWords(status).label;
    return estimate(left) ? t("plain.ready-in", { label, time: estimate(left) }) : label;
}

/** "45 % · about 2 min left". For a patient, the time is with the words. */
export function figures(session, user) {
    const { progress, status, estimated_time_remaining: left } = session.progress;
    return [status === "pending" ? "" : percent(progress), user.role === "patient" ? "" : remaining(left)].filter(Boolean).join(" · ");
}

/** A chip with the status. */
export function chip() {
    const text = h("span");
    return { root: h("span.chip", h("span.dot", { "aria-hidden": "true" }), text), text };
}

export function renewChip({ root, text }, session, user) {
    const words = statusFor(session, user);
    root.dataset.tone = words.tone;
    setText(text, words.label);
}

/** A row of a session in progress. */
export function workingRow(session, user) {
    const link = h("a.session-link", { href: `#/sessions/${session.id}` });
    const row = {
        link, chip: chip(), meta: h("p.session-meta.muted"), bar: h("progress", { max: 100 }), message: h("span"), figures: h("span.figures"),
    };
    row.root = h("li.session", { "data-session": session.id },
        h("div.session-head", h("div", link, row.meta), row.chip.root),
        h("div.progress-block", row.bar, h("p.progress-text", row.message, row.figures)));
    renewWorking(row, session, user);
    return row;
}

export function renewWorking(row, session, user) {
    const name = nameOf(session, user);
    row.root.dataset.status = session.progress.status;
    setText(row.link, name);
    setText(row.meta, factsOf(session, user).join(" · "));
    renewChip(row.chip, session, user);
    row.bar.value = session.progress.progress;
    row.bar.setAttribute("aria-label", t("progress-of", { name }));
    setText(row.message, activityFor(session, user));
    setText(row.figures, figures(session, user));
}

/** A row of a failed session, with what can be done. `act(action, session)` gets `retry` or `upload`. */
export function failedRow(session, user, act) {
    const row = {
        link: h("a.session-link", { href: `#/sessions/${session.id}` }), meta: h("p.session-meta.muted"), text: h("p.session-error"),
        retry: button(t("retry"), { kind: "small primary", onclick: () => act("retry", session.id) }),
        upload: button(t("upload-again"), { kind: "small", onclick: () => act("upload", session.id) }),
    };
    row.root = h("li.session", { "data-session": session.id },
        h("div.session-head", h("div", row.link, row.meta, row.text), h("div.session-actions", row.retry, row.upload)));
    renewFailed(row, session, user);
    return row;
}

export function renewFailed(row, session, user) {
    const { text, advice } = failureWords(session.progress.error);
    const manages = user.role === "therapist" || user.role === "admin";
    row.root.dataset.status = session.progress.status;
    setText(row.link, nameOf(session, user));
    setText(row.meta, factsOf(session, user).join(" · "));
    showText(row.text, text);
    row.retry.hidden = !manages || session.bytes === null || advice === "upload";
    row.upload.hidden = advice !== "upload" && session.bytes !== null;
    for (const [action, words] of [[row.retry, "retry"], [row.upload, "upload-again"]]) {
        action.setAttribute("aria-label", `${t(words)}: ${[nameOf(session, user), ...factsOf(session, user)].join(", ")}`);
    }
}

/** The second line of a row. */
export function factsOf(session, user) {
    const when = user.role === "patient" ? "" : dateTime(timeOf(session));
    return [when, session.filename].filter(Boolean);
}

/** True if a session belongs to this group of the list. */
export const isIn = {
    working: (status) => isUnfinished(status),
    failed: (status) => status === "failed",
    done: (status) => status === "processed",
};
