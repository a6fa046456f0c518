/** The words of the page in the user's language, and dates, numbers and sizes in its forms. */

/** `en`, `de` or `fr`: the language in which the server has written the page. */
export const language = document.documentElement?.lang || "en";

/** The locale for dates and numbers: the first one of the browser in this language, such as `de-AT` or `en-GB`. */
const locale = (globalThis.navigator?.languages ?? []).find((tag) => tag.split("-")[0] === language) ?? language;

let table = {};
const plurals = new Intl.PluralRules(language);
const loaded = new Map();

/** Loads a table of words, `words` or `admin-words`, and adds it to the others. */
export function loadWords(name = "words") {
    if (!loaded.has(name)) {
        loaded.set(name, import(`./${name}-${language}.js`).then(({ default: words }) => { table = { ...table, ...words }; }));
    }
    return loaded.get(name);
}

/**
 * The text of a key. `{name}` in it stands for a value. Of an object of plural forms, `n` chooses one.
 * A key that is missing stands for itself.
 */
export function t(key, values = {}) {
    let text = table[key] ?? key;
    if (typeof text === "object") text = text[plurals.select(values.n)] ?? text.other;
    return text.replace(/\{(\w+)\}/g, (all, name) => {
        const value = values[name];
        return typeof value === "number" ? number(value) : value ?? all;
    });
}

/** True if there are words for a key. */
export const has = (key) => key in table;

const TONES = { pending: "waiting", processed: "done", failed: "failed" };

/** The label, the tone and a sentence of a status. A status that this page does not know is shown by its name. */
export function statusWords(status) {
    if (!has(`status.${status}`)) return { label: capitalised(status), tone: "busy", hint: "" };
    return { label: t(`status.${status}`), tone: TONES[status] ?? "busy", hint: t(`hint.${status}`) };
}

/** True if the session is not finished. */
export function isUnfinished(status) {
    return status !== "processed" && status !== "failed";
}

/** What is happening with a session: the words of its status, or else the pipeline's own message. */
export function activity(session) {
    const { status, message } = session.progress;
    // Without bytes, the session waits for an upload and not for a worker.
    if (status === "pending" && session.bytes === null) return t("hint.no-recording");
    // The pipeline speaks English.
    if (message && (language === "en" || !has(`hint.${status}`))) return message;
    return statusWords(status).hint;
}

/** Why a session failed, in the user's language where the reason is one of the program's own. */
export function failureWords(error) {
    const known = FAILURES.find(([pattern]) => pattern.test(error ?? ""));
    return { text: (language === "en" && error) || (known ? t(known[1]) : error || t("failure.other")), advice: known?.[2] ?? "retry" };
}

/** The reasons that the program itself gives. The last member is the next step: to retry, to upload, or to ask. */
const FAILURES = [
    [/^Cancelled/, "failure.cancelled", "retry"],
    [/^The upload (broke off|was not completed)/, "failure.upload", "upload"],
    [/^The recording (is missing|on the server is damaged)/, "failure.damaged", "upload"],
    [/^The recording could not be read as audio/, "failure.unreadable", "upload"],
    [/^No speech was found/, "failure.silence", "upload"],
    [/^The recording is longer/, "failure.long", "upload"],
    [/(Mix them into one|samples a second)/, "failure.tracks", "upload"],
    [/too large to be stored/, "failure.size", "ask"],
    [/^The speech recogniser/, "failure.recogniser", "retry"],
    [/said nothing for|may have stalled/, "failure.stalled", "retry"],
];

// MARK: Times

const format = (options) => new Intl.DateTimeFormat(locale, options);
const dayAndTime = format({ dateStyle: "medium", timeStyle: "short" });
const day = format({ dateStyle: "medium" });
const longDay = format({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
const clock = format({ timeStyle: "short" });
const seconds = format({ timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });

/** "22 Nov 2026, 09:30", in the user's time zone and format. */
export const dateTime = (text) => (text ? dayAndTime.format(new Date(text)) : "");
/** "22 Nov 2026". */
export const date = (text) => (text ? day.format(new Date(text)) : "");
/** "Sunday, 22 November 2026". */
export const longDate = (text) => (text ? longDay.format(new Date(text)) : "");
/** "09:30". */
export const time = (text) => (text ? clock.format(new Date(text)) : "");

/** "09:30:05", with the day in front unless it is today. */
export function moment(text) {
    const at = new Date(text);
    return at.toDateString() === new Date().toDateString() ? seconds.format(at) : dayAndTime.format(at);
}

/** "5 minutes ago". */
export function ago(text, now = Date.now()) {
    const past = Math.max(0, (now - new Date(text)) / 1000);
    if (past < 60) return relative.format(-Math.floor(past), "second");
    if (past < 3600) return relative.format(-Math.floor(past / 60), "minute");
    if (past < 86_400) return relative.format(-Math.floor(past / 3600), "hour");
    return past < 7 * 86_400 ? relative.format(-Math.floor(past / 86_400), "day") : date(text);
}

/** "2:05" or "1:02:05". */
export function timecode(length) {
    const whole = Math.max(0, Math.floor(length));
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const tail = String(rest).padStart(2, "0");
    return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** "45 s", "3 min" or "1 h 5 min". */
export function duration(length) {
    if (length < 1) return t("duration.moment");
    if (length < 90) return t("duration.s", { n: Math.round(length) });
    if (length < 3600) return t("duration.min", { n: Math.round(length / 60) });
    const minutes = Math.round(length / 60);
    return [t("duration.h", { n: Math.floor(minutes / 60) }), minutes % 60 && t("duration.min", { n: minutes % 60 })]
        .filter(Boolean).join(" ");
}

/** "about 2 min left"; empty without an estimate. */
export function remaining(length) {
    if (length === null || length === undefined) return "";
    return length < 5 ? t("left.moment") : t("left", { time: rounded(length) });
}

/** "about 3 min"; empty without an estimate, or if it is over. */
export const estimate = (length) => (length >= 5 ? t("about", { time: rounded(length) }) : "");

const rounded = (length) => duration(length < 90 ? Math.round(length / 5) * 5 : Math.round(length / 60) * 60);

/** What is missing of a recording, or nothing if it is complete. */
export function incompleteness({ is_complete, duration_seconds, announced_seconds }) {
    if (is_complete !== false) return "";
    const [announced, read] = [announced_seconds, duration_seconds].map((length) => timecode(Math.round(length)));
    // One of several tracks may have been cut, and the longest one is whole.
    return announced === read ? t("incomplete.track") : t("incomplete", { announced, read });
}

// MARK: Numbers

const plain = new Intl.NumberFormat(locale);
const share = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });

export const number = (value) => plain.format(value);
/** 45 as "45 %", as the language writes it. */
export const percent = (value) => share.format(value / 100);

/** "12.3 MB", in the units of file managers. */
export function byteSize(bytes) {
    const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
    const power = Math.min(units.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
    const value = bytes / 1000 ** power;
    return new Intl.NumberFormat(locale, {
        style: "unit", unit: units[power], maximumFractionDigits: power && value < 10 ? 1 : 0,
    }).format(value);
}

/** The name of a language tag: "de-AT" as "Austrian German". */
export function languageName(tag) {
    try {
        return new Intl.DisplayNames(language, { type: "language" }).of(tag) ?? tag;
    } catch {
        return tag;
    }
}

/** "key_topics" as "Key topics". */
export function capitalised(text) {
    const spaced = text.replaceAll("_", " ");
    return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
