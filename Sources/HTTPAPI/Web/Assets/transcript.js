/** A transcript with its recording. A click on a segment plays it, and the playing segment is marked. */

import { get } from "./api.js";
import { fromTemplate, setText, showText } from "./dom.js";
import { incompleteness, timecode } from "./words.js";

export class Transcript {
    #part;
    #segments = [];
    #buttons = [];
    #playing = -1;
    #hasAudio = false;
    #triedAgain = false;
    #text = "";

    /** @param part the elements of the detail view's transcript card */
    constructor(part) {
        this.#part = part;
        part.audio.addEventListener("timeupdate", () => this.#follow(part.audio.currentTime));
        part.audio.addEventListener("error", () => this.#audioFailed());
        part.copy.addEventListener("click", () => this.#copy());
    }

    /** Shows the player with the recording. */
    showRecording(id) {
        if (this.#hasAudio) return;
        this.#hasAudio = true;
        this.#part.audio.src = `/api/sessions/${id}/recording`;
        this.#part.player.hidden = false;
    }

    /** Reads and shows the transcript. Returns false if there is none. */
    async load(id) {
        try {
            this.#show(await get(`/api/sessions/${id}/transcript`));
            return true;
        } catch (error) {
            if (error.status === 404) return false;
            throw error;
        }
    }

    /** Closes the connection of the player. */
    close() {
        this.#part.audio.pause();
        this.#part.audio.removeAttribute("src");
        this.#part.audio.load();
    }

    #show(transcript) {
        const { text, segments } = transcript;
        showText(this.#part.incomplete, incompleteness(transcript));
        this.#segments = segments?.length ? segments : [];
        this.#text = text ?? "";
        const speakers = new Set(this.#segments.map((segment) => segment.speaker).filter(Boolean));
        let speaker = null;
        const rows = this.#segments.map((segment, index) => {
            const { root, part } = fromTemplate("segment-row");
            setText(part.time, timecode(segment.start));
            setText(part.text, segment.text);
            const isNext = segment.speaker && segment.speaker !== speaker;
            if (isNext && speakers.size > 1) showText(part.speaker, segment.speaker);
            speaker = segment.speaker ?? null;
            part.button.addEventListener("click", () => this.#playFrom(index));
            return root;
        });
        this.#part.segments.replaceChildren(...rows);
        this.#buttons = rows.map((row) => row.firstElementChild);
        this.#part.copy.hidden = !this.#text;
        const plain = rows.length === 0 ? this.#text || "We recognized no speech in this recording." : "";
        showText(this.#part.transcriptNote, plain);
    }

    #playFrom(index) {
        if (!this.#hasAudio) return;
        this.#part.audio.currentTime = this.#segments[index].start;
        this.#part.audio.play().catch(() => {}); // the browser may need another click first
        this.#follow(this.#segments[index].start);
    }

    #follow(time) {
        const index = this.#segments.findLastIndex((segment) => segment.start <= time + 0.05);
        if (index === this.#playing) return;
        this.#buttons[this.#playing]?.removeAttribute("aria-current");
        this.#buttons[index]?.setAttribute("aria-current", "true");
        this.#playing = index;
    }

    /** The token may have expired during a long pause. A request refreshes it, and the player tries once more. */
    async #audioFailed() {
        const { audio, player } = this.#part;
        if (!audio.hasAttribute("src")) return;
        if (this.#triedAgain) {
            player.hidden = true;
            return;
        }
        this.#triedAgain = true;
        const time = audio.currentTime;
        try {
            await get("/api/auth/me");
        } catch {
            return;
        }
        if (!audio.hasAttribute("src")) return;
        audio.addEventListener("loadedmetadata", () => {
            this.#triedAgain = false;
            if (time > 0) audio.currentTime = time;
        }, { once: true });
        audio.load();
    }

    async #copy() {
        const lines = this.#segments.map(({ start, speaker, text }) =>
            [`[${timecode(start)}]`, speaker && `${speaker}:`, text].filter(Boolean).join(" "));
        try {
            await navigator.clipboard.writeText(lines.length ? lines.join("\n") : this.#text);
            setText(this.#part.copy, "Copied");
        } catch {
            setText(this.#part.copy, "Your browser does not allow copying");
        }
        setTimeout(() => setText(this.#part.copy, "Copy text"), 2_000);
    }
}
