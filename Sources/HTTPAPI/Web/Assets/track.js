/** The drawn track of a session: its stages, how long each took, and what is left. */

import { fill, h, setText, showText } from "./dom.js";
import { activityFor, figures } from "./session-words.js";
import { date, duration, isUnfinished, moment, statusWords, t } from "./words.js";

/** The stages in order, with the statuses that belong to each. */
const STAGES = [
    ["upload", ["uploading"]], ["queue", ["pending"]], ["transcribe", ["preprocessing", "transcribing"]],
    ["speakers", ["diarizing"]], ["notes", ["transcribed", "extracting_notes"]], ["done", ["processed"]],
];
const stageOf = (status) => STAGES.findIndex(([, statuses]) => statuses.includes(status));

/**
 * What the transitions say: the seconds of each stage since the last retry, when the present one began, and the attempts that
 * have ended before.
 */
export function timesOf(events) {
    const times = new Map();
    const attempts = [];
    let isOfNow = true;
    let since = null;
    for (let index = events.length - 1; index >= 0; index -= 1) {
        const event = events[index];
        const next = events[index + 1];
        const stage = stageOf(event.status);
        const length = next ? (new Date(next.at) - new Date(event.at)) / 1000 : 0;
        if (!next) since = event.at;
        // The upload belongs to every run.
        if (isOfNow || stage === 0) times.set(stage, (times.get(stage) ?? 0) + length);
        const before = events[index - 1];
        const isRetry = before && !isUnfinished(before.status) && event.attempt > before.attempt;
        if (isRetry) isOfNow = false;
        if (next && next.attempt > event.attempt) attempts.unshift({ attempt: event.attempt, status: event.status, error: event.error, at: next.at });
    }
    return { times, since, attempts };
}

export class Track {
    #list = h("ol.track");
    #message = h("p.track-message");
    #figures = h("p.figures.muted");
    #bar = h("progress", { max: 100, "aria-label": t("progress") });
    #attempts = h("ul.track-attempts.muted");
    #user;
    #session = null;
    #events = [];
    #steps = new Map();
    #ticker;
    root = h("section.card.track-card", { "data-part": "track", "aria-label": t("track") });

    constructor(user) {
        this.#user = user;
        fill(this.root, this.#list, this.#bar, h("div.track-line", this.#message, this.#figures), this.#attempts);
        this.#ticker = setInterval(() => this.#renew(), 1_000);
    }

    close() { clearInterval(this.#ticker); }

    showSession(session) {
        this.#session = session;
        this.#renew();
    }

    showEvents(events) {
        this.#events = events;
        this.#renew();
    }

    #renew() {
        const session = this.#session;
        if (!session) return;
        const { status, progress, attempt } = session.progress;
        const { times, since, attempts } = timesOf(this.#events);
        const isOver = !isUnfinished(status);
        const failedAt = status === "failed" ? this.#lastStage() : -1;
        const present = status === "failed" ? failedAt : status === "processed" ? STAGES.length : stageOf(status);
        const hasSpeakers = times.has(3) || status === "diarizing";
        STAGES.forEach(([name], index) => {
            if (name === "speakers" && !hasSpeakers) return this.#remove(name);
            const state = index === failedAt ? "failed" : index < present ? "done" : index === present ? "now" : "later";
            const running = index === present && !isOver && since ? (Date.now() - new Date(since)) / 1000 : 0;
            const length = (times.get(index) ?? 0) + Math.max(0, running);
            const isTimed = name !== "done" && (state === "done" || state === "now" || state === "failed") && times.has(index);
            const at = name === "done" && status === "processed" ? date(session.progress.updated_at) : "";
            this.#put(name, index, state, isTimed ? duration(length) : at);
        });
        this.#bar.hidden = isOver;
        this.#bar.value = progress;
        setText(this.#message, isOver ? "" : activityFor(session, this.#user));
        const words = [figures(session, this.#user), attempt > 1 && t("attempt", { n: attempt })];
        setText(this.#figures, isOver ? (attempt > 1 && status !== "failed" ? t("attempt", { n: attempt }) : "") : words.filter(Boolean).join(" · "));
        const lines = attempts.map((each) => t("attempt.ended", {
            n: each.attempt, status: each.status === "failed" ? t("status.failed") : statusWords(each.status).label, at: moment(each.at),
        }));
        if (this.#attempts.textContent !== lines.join("")) fill(this.#attempts, lines.map((line) => h("li", line)));
        this.#attempts.hidden = lines.length === 0;
    }

    /** The stage in which the session failed: the last one before. */
    #lastStage() {
        const before = this.#events.findLast((event) => event.status !== "failed");
        return Math.max(0, before ? stageOf(before.status) : 0);
    }

    #put(name, index, state, time) {
        let step = this.#steps.get(name);
        if (!step) {
            step = { label: h("span.step-label", t(`stage.${name}`)), time: h("span.step-time") , state: h("span.visually-hidden") };
            step.root = h("li.step", { "data-stage": name }, h("span.step-dot", { "aria-hidden": "true" }), step.label, step.time, step.state);
            this.#steps.set(name, step);
            const after = [...this.#steps.keys()].filter((each) => STAGES.findIndex(([key]) => key === each) > index);
            this.#list.insertBefore(step.root, after.length ? this.#steps.get(after[0]).root : null);
        }
        step.root.dataset.state = state;
        if (state === "now") step.root.setAttribute("aria-current", "step");
        else step.root.removeAttribute("aria-current");
        showText(step.time, time);
        setText(step.state, t(`step.${state}`));
    }

    #remove(name) {
        this.#steps.get(name)?.root.remove();
        this.#steps.delete(name);
    }
}
