/** The player of a recording: play, ±15 s, speed and keys. A player that has lost its connection comes back where it was. */

import { get } from "./api.js";
import { fill, h, icon, setText } from "./dom.js";
import { number, t, timecode } from "./words.js";

const STEP = 15;
const SPEEDS = [0.75, 1, 1.25, 1.5, 1.75, 2];
/** The waits before a dead player tries again, in milliseconds. */
const RETRIES = [500, 2_000, 5_000, 15_000, 30_000];
/** How long a player that should play may neither move nor receive anything before it counts as dead, in milliseconds. */
const STALL = 10_000;

export class Player {
    #id;
    #audio = h("audio", { preload: "metadata" });
    #play;
    #seek = h("input.player-seek", { type: "range", min: 0, max: 1, step: 1, value: 0, "aria-label": t("player.position") });
    #time = h("span.player-time");
    #speed = h("select", { "aria-label": t("player.speed") }, SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 1 }, `${number(speed)}×`)));
    #note = h("p.muted", { hidden: true });
    #onTime;
    #length;
    #tries = 0;
    #timer = 0;
    #wantsToPlay = false;
    #ticker = 0;
    /** The position and the end of what was received, and since when both are the same. */
    #still = { state: "", since: 0 };
    #onKey = (event) => this.#key(event);
    root = h("div.player", { "data-part": "player", role: "group", "aria-label": t("player") });

    /** @param {string} id of the session @param {number | null} length in seconds @param {(seconds: number) => void} onTime */
    constructor(id, length, onTime) {
        this.#id = id;
        this.#length = length ?? 0;
        this.#onTime = onTime;
        this.#play = h("button.icon-button.player-play", { type: "button", onclick: () => this.toggle() });
        const step = (seconds) => h("button.icon-button.player-step", {
            type: "button", "aria-label": t(seconds < 0 ? "player.back" : "player.forward", { n: STEP }), onclick: () => this.seek(this.#audio.currentTime + seconds),
        }, seconds < 0 ? `−${STEP}` : `+${STEP}`);
        fill(this.root, this.#audio, step(-STEP), this.#play, step(STEP), this.#seek, this.#time, this.#speed, this.#note);
        const audio = this.#audio;
        audio.addEventListener("timeupdate", () => this.#renew());
        audio.addEventListener("durationchange", () => this.#renew());
        for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, () => this.#renew());
        audio.addEventListener("playing", () => { this.#tries = 0; this.#wantsToPlay = true; this.#note.hidden = true; });
        audio.addEventListener("error", () => this.#failed());
        this.#seek.addEventListener("input", () => this.seek(Number(this.#seek.value)));
        this.#speed.addEventListener("change", () => { audio.playbackRate = Number(this.#speed.value); });
        document.addEventListener("keydown", this.#onKey);
        this.#ticker = setInterval(() => this.#watch(), 2_000);
        audio.src = `/api/sessions/${id}/recording`;
        this.#renew();
    }

    /** Closes the connection of the player. */
    close() {
        clearTimeout(this.#timer);
        clearInterval(this.#ticker);
        document.removeEventListener("keydown", this.#onKey);
        this.#audio.pause();
        this.#audio.removeAttribute("src");
        this.#audio.load();
    }

    toggle() {
        if (this.#audio.paused) this.play();
        else {
            this.#wantsToPlay = false;
            this.#audio.pause();
        }
    }

    play() {
        this.#wantsToPlay = true;
        if (this.#audio.error) this.#comeBack();
        else this.#audio.play().catch(() => {}); // the browser may need another click first
    }

    seek(seconds) {
        this.#audio.currentTime = Math.max(0, Math.min(seconds, this.#duration || seconds));
        this.#renew();
    }

    /** WebKitGTK takes what it has received of an Ogg for the whole: the server knows the length better. */
    get #duration() {
        const { duration } = this.#audio;
        return Math.max(Number.isFinite(duration) ? duration : 0, this.#length);
    }

    #renew() {
        const { currentTime, paused } = this.#audio;
        const length = this.#duration;
        const action = paused ? "play" : "pause";
        if (this.#play.dataset.action !== action) {
            this.#play.dataset.action = action;
            this.#play.setAttribute("aria-label", t(`player.${action}`));
            fill(this.#play, icon(action));
        }
        this.#seek.max = Math.max(1, Math.ceil(length));
        this.#seek.value = Math.floor(currentTime);
        const words = `${timecode(currentTime)} / ${timecode(length)}`;
        this.#seek.setAttribute("aria-valuetext", words);
        setText(this.#time, words);
        this.#onTime(currentTime, !paused);
    }

    /** Space or K plays and pauses, J and L go back and forward, as in other players. */
    #key(event) {
        const isElsewhere = event.target.closest?.("input, textarea, select, button, a, dialog, [contenteditable]");
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        if (isElsewhere && (event.key === " " || event.target.matches("input:not([type=range]), textarea, select, dialog *"))) return;
        const actions = {
            " ": () => this.toggle(), k: () => this.toggle(), j: () => this.seek(this.#audio.currentTime - STEP),
            l: () => this.seek(this.#audio.currentTime + STEP),
        };
        const action = actions[event.key.toLowerCase()];
        if (!action) return;
        event.preventDefault();
        action();
    }

    /** WebKitGTK can stand still after a lost connection, without an error. */
    #watch() {
        const { buffered, currentTime, ended, paused } = this.#audio;
        const state = `${currentTime} ${buffered.length ? buffered.end(buffered.length - 1) : 0}`;
        const now = performance.now();
        if (paused || ended || state !== this.#still.state) this.#still = { state, since: now };
        if (now - this.#still.since < STALL) return;
        this.#still.since = now;
        this.#failed();
    }

    /** The token may have expired during a long pause, or the network was away. */
    #failed() {
        if (!this.#audio.hasAttribute("src")) return;
        clearTimeout(this.#timer);
        if (this.#tries >= RETRIES.length) {
            this.#note.hidden = false;
            setText(this.#note, t("player.failed"));
            return;
        }
        this.#timer = setTimeout(() => this.#comeBack(), RETRIES[this.#tries++]);
    }

    async #comeBack() {
        const { currentTime } = this.#audio;
        try {
            await get("/api/auth/me");
        } catch (error) {
            if (error.isTemporary) this.#failed();
            return;
        }
        if (!this.#audio.hasAttribute("src")) return;
        this.#audio.addEventListener("loadedmetadata", () => {
            if (currentTime > 0) this.#audio.currentTime = currentTime;
            if (this.#wantsToPlay) this.#audio.play().catch(() => {});
        }, { once: true });
        this.#audio.load();
    }
}
