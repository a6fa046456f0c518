/** A transcript: it grows while it is made, follows the recording, and can be corrected when it is final. */

import { fetchRaw } from "./api.js";
import { announce, button, fill, h, setText, showText } from "./dom.js";
import { Player } from "./player.js";
import { incompleteness, t, timecode } from "./words.js";

export class Transcript {
    #id;
    #mayCorrect;
    #context;
    #segments = [];
    #passages = [];
    #transcript = null;
    #etag = null;
    #playing = -1;
    #player = null;
    #follows = true;
    #isEditing = false;
    #reading = Promise.resolve();
    #part = {};
    #startAt;
    root;

    constructor(id, context, { mayCorrect, startAt = null }) {
        this.#id = id;
        this.#context = context;
        this.#mayCorrect = mayCorrect;
        this.#startAt = startAt;
        const part = this.#part;
        const box = h("input", { type: "checkbox", checked: true, onchange: () => { this.#follows = box.checked; } });
        part.follow = h("label.check.follow", { hidden: true }, box, t("player.follow"));
        part.correct = button(t("correct"), { kind: "small", "aria-label": t("correct.transcript"), hidden: true, onclick: () => this.#edit() });
        part.copy = button(t("copy"), { kind: "small", hidden: true, onclick: () => this.#copy() });
        part.downloads = h("span.downloads", { hidden: true }, ["txt", "vtt", "srt"].map((format) => button(t(`download.${format}`), {
            kind: "small quiet", "aria-label": t("download.as", { format: t(`download.${format}`) }), onclick: () => this.#download(format),
        })));
        part.title = h("h2", t("transcript"));
        part.player = h("div.player-place");
        part.incomplete = h("p.notice.warning", { "data-part": "incomplete", hidden: true });
        part.note = h("p.muted");
        part.bar = h("div.correction-bar", { hidden: true });
        part.text = h("div.transcript", { "data-part": "transcript", tabIndex: -1 });
        this.root = h("section.card.transcript-card", { hidden: true, "aria-label": t("transcript") },
            h("div.card-head", part.title, h("div.card-actions", part.downloads, part.copy, part.correct)),
            part.player, part.incomplete, part.note, part.bar, part.text);
    }

    close() { this.#player?.close(); }

    /** Shows the player. */
    showRecording(session) {
        if (this.#player) return;
        this.#player = new Player(this.#id, session.duration_seconds, (seconds, isPlaying) => this.#follow(seconds, isPlaying));
        fill(this.#part.player, this.#player.root, this.#part.follow);
        this.root.hidden = false;
        if (this.#startAt !== null) this.#player.seek(this.#startAt);
    }

    /** Reads what has come since, or everything. One read follows the other. */
    read({ more = false } = {}) {
        this.#reading = this.#reading.then(() => this.#read(more)).catch((error) => this.#context.fail(error));
        return this.#reading;
    }

    async #read(more) {
        if (this.#isEditing || this.#context.signal.aborted) return;
        const from = more && this.#transcript && !this.#transcript.is_final ? this.#segments.length : 0;
        const path = `/api/sessions/${this.#id}/transcript`;
        let response;
        try {
            // The entity tag that a correction needs is that of the whole transcript.
            response = await fetchRaw("GET", from ? `${path}?from=${from}` : path, { signal: this.#context.signal });
        } catch (error) {
            if (error.name === "AbortError") return;
            if (error.status !== 404) throw error;
            if (!more) this.#show({ text: "", segments: [], is_final: false });
            return;
        }
        const transcript = await response.json();
        if (from && (transcript.is_final || transcript.attempt !== this.#transcript.attempt)) return this.#read(false);
        this.#etag = response.headers.get("ETag");
        if (from) this.#grow(transcript);
        else this.#show(transcript);
    }

    /** Says what is missing, when there is no transcript. */
    note(words, { shows = false } = {}) {
        if (shows) this.root.hidden = false;
        showText(this.#part.note, this.#segments.length ? "" : words);
    }

    #show(transcript) {
        showText(this.#part.incomplete, incompleteness(transcript));
        this.#transcript = transcript;
        this.#segments = transcript.segments?.length ? transcript.segments : [];
        const speakers = new Set(this.#segments.map((segment) => segment.speaker).filter(Boolean));
        this.#passages = [];
        fill(this.#part.text, this.#segments.map((segment, index) => this.#passage(segment, index, speakers.size > 0)));
        this.#playing = -1;
        const hasText = this.#segments.length > 0 || Boolean(transcript.text);
        if (hasText) this.root.hidden = false;
        const isFinal = transcript.is_final === true;
        this.#part.follow.hidden = this.#segments.length === 0;
        this.#part.copy.hidden = this.#part.downloads.hidden = !hasText;
        this.#part.correct.hidden = !isFinal || !this.#mayCorrect || this.#segments.length === 0;
        if (isFinal && !this.#segments.length) showText(this.#part.note, transcript.text || t("transcript.silent"));
        else if (hasText) showText(this.#part.note, "");
        setText(this.#part.title, t(isFinal || !hasText ? "transcript" : "transcript.growing"));
        this.#part.text.classList.toggle("growing", !isFinal && hasText);
    }

    #grow(transcript) {
        const first = this.#segments.length;
        this.#segments.push(...transcript.segments);
        this.#transcript.text = [this.#transcript.text, transcript.text].filter(Boolean).join(" ");
        const speakers = new Set(this.#segments.map((segment) => segment.speaker).filter(Boolean));
        this.#part.text.append(...transcript.segments.map((segment, index) => this.#passage(segment, first + index, speakers.size > 0)));
    }

    #passage(segment, index, namesSpeakers) {
        const speaker = this.#segments[index - 1]?.speaker !== segment.speaker && namesSpeakers ? segment.speaker : null;
        const time = h("a.passage-time", {
            href: `#/sessions/${this.#id}?t=${Math.floor(segment.start)}`, title: t("player.from-here"),
            onclick: (event) => {
                if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab, or the address of this moment
                event.preventDefault();
                history.replaceState(history.state, "", event.currentTarget.getAttribute("href"));
                this.#player?.seek(segment.start);
                this.#player?.play();
            },
        }, timecode(segment.start));
        const text = h("span.passage-text", segment.text);
        const root = h("p.passage", { "data-index": String(index) }, speaker && h("strong.passage-speaker", speaker), time, " ", text);
        this.#passages[index] = { root, text };
        return root;
    }

    /** Marks the passage that plays, and brings it into view. */
    #follow(seconds, isPlaying) {
        if (this.#isEditing) return;
        const index = this.#segments.findLastIndex((segment) => segment.start <= seconds + 0.05);
        if (index === this.#playing) return;
        this.#passages[this.#playing]?.root.removeAttribute("aria-current");
        const passage = this.#passages[index];
        passage?.root.setAttribute("aria-current", "true");
        this.#playing = index;
        const isReading = String(getSelection?.() ?? "") !== "";
        if (passage && isPlaying && this.#follows && !isReading) {
            const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
            passage.root.scrollIntoView({ block: "center", behavior: isStill ? "auto" : "smooth" });
        }
    }

    async #copy() {
        const lines = this.#segments.map(({ start, speaker, text }) =>
            [`[${timecode(start)}]`, speaker && `${speaker}:`, text].filter(Boolean).join(" "));
        try {
            await navigator.clipboard.writeText(lines.length ? lines.join("\n") : this.#transcript?.text ?? "");
            this.#context.toast(t("copied"));
        } catch {
            this.#context.toast(t("copy.refused"), "error");
        }
    }

    /** A request with the client brings the file: a plain link would fail after the token has expired. */
    async #download(format) {
        try {
            const response = await fetchRaw("GET", `/api/sessions/${this.#id}/transcript?format=${format}`, { headers: { Accept: "*/*" } });
            const url = URL.createObjectURL(await response.blob());
            h("a", { href: url, download: `transcript-${this.#id.slice(0, 8)}.${format}` }).click();
            setTimeout(() => URL.revokeObjectURL(url), 10_000);
        } catch (error) {
            this.#context.fail(error);
        }
    }

    // MARK: Corrections

    async #edit() {
        const { correct } = await import("./corrections.js");
        this.#isEditing = true;
        this.#part.correct.hidden = true;
        const end = () => {
            this.#isEditing = false;
            this.#part.bar.hidden = true;
            fill(this.#part.bar);
        };
        correct({
            id: this.#id, segments: this.#segments, etag: this.#etag, bar: this.#part.bar, list: this.#part.text,
            onCancel: () => {
                end();
                this.#show(this.#transcript);
            },
            onSaved: async () => {
                end();
                await this.read();
                announce(t("saved"));
                this.#context.toast(t("saved"));
                this.onCorrected?.();
            },
        });
    }
}
