/** Asks for recordings: one or more files, each with its patient and date, which the page guesses and the user corrects. */

import { getAll } from "./api.js";
import { dialog, field, fill, h, icon, showText } from "./dom.js";
import { byteSize, languageName, t } from "./words.js";

const limits = {
    bytes: Number(document.body.dataset.maxUploadBytes) || Infinity,
    extensions: document.body.dataset.extensions.toLowerCase().split(/[\s,]+/).filter(Boolean),
};
const LANGUAGES = ["de", "de-AT", "de-CH", "en", "fr", "es", "it", "nl", "pl", "pt", "ro", "ru", "tr", "uk", "ar", "fa"];

/** Why the user cannot upload this file, or "" if nothing is wrong. The server checks the file again. */
export function complaintAbout(file) {
    const name = file.name.trim().toLowerCase();
    if (!limits.extensions.some((extension) => name.endsWith(extension))) return t("file.format", { formats: formats() });
    if (file.size === 0) return t("file.empty");
    if (file.size > limits.bytes) return t("file.large", { size: byteSize(file.size), limit: byteSize(limits.bytes) });
    return "";
}

const formats = () => limits.extensions.map((extension) => extension.slice(1)).join(", ");

/** The date in a file's name, such as `2026-11-22`, `20261122_0930` or `22.11.2026`; else that of the file. */
export function guessDate(file) {
    const iso = /(20\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?:[T _-]*([01]\d|2[0-3])[-_:.h]?([0-5]\d))?/.exec(file.name);
    const german = /(0?[1-9]|[12]\d|3[01])\.(0?[1-9]|1[0-2])\.(20\d\d)/.exec(file.name);
    if (german) return new Date(Number(german[3]), german[2] - 1, Number(german[1]), 12);
    if (iso) return new Date(Number(iso[1]), iso[2] - 1, Number(iso[3]), iso[4] ? Number(iso[4]) : 12, Number(iso[5] ?? 0));
    return new Date(file.lastModified || Date.now());
}

/** The patient whose name the file's name has, or the only one. */
export function guessPatient(file, patients) {
    if (patients.length === 1) return patients[0].id;
    const name = plainLetters(file.name);
    const found = patients.filter((patient) => plainLetters(patient.full_name).split(" ").some((word) => word.length > 2 && name.includes(word)));
    return found.length === 1 ? found[0].id : "";
}

const plainLetters = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[^\p{L}\d]+/gu, " ").trim();

/** For `datetime-local`, in the user's time zone. */
function localValue(date) {
    const shifted = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
    return shifted.toISOString().slice(0, 16);
}

/** @returns {Promise<object[]>} what to upload; empty if the user has left the dialog */
export async function askForRecordings(user, { files = [], patientId = "", date = null, replaces = null } = {}) {
    if (document.querySelector("dialog[open]")) return [];
    const isPatient = user.role === "patient";
    const patients = isPatient ? [] : await getAll("/api/patients");
    const rows = [];
    const list = h("ul.upload-rows");
    const input = h("input.visually-hidden", { type: "file", id: "upload-file", multiple: true, accept: limits.extensions.join(",") });
    const hint = h("p.muted", t("upload.limits", { formats: formats(), limit: byteSize(limits.bytes) }));
    const zone = h("div.drop-zone", input, h("p.drop-title", t("upload.drop")), h("label.button", { for: "upload-file" }, t("upload.choose")), hint);
    const nobody = h("p.notice.warning", { hidden: isPatient || patients.length > 0 }, t("upload.nobody"));
    const all = patients.length > 1 && field({ label: t("upload.patient.all"), name: "all", options: [["", t("choose")], ...patients.map(optionOf)] });
    const language = field({
        label: t("upload.language"), name: "language", hint: t("upload.language.hint"),
        options: [["", t("language.unknown")], ...LANGUAGES.map((tag) => [tag, languageName(tag)])],
    });

    const add = (added) => {
        for (const file of added) rows.push(makeRow(file));
        fill(list, rows.map((row) => row.root));
        if (all) all.hidden = rows.length < 2;
    };
    const makeRow = (file) => {
        const complaint = complaintAbout(file);
        const row = { file, complaint };
        const error = h("p.field-error", { role: "alert" });
        showText(error, complaint);
        row.patient = h("select", { "aria-label": `${t("column.patient")}: ${file.name}`, hidden: isPatient },
            patients.length !== 1 && h("option", { value: "" }, t("choose")), patients.map((each) => h("option", { value: each.id }, optionOf(each)[1])));
        row.patient.value = patientId || guessPatient(file, patients);
        row.date = h("input", { type: "datetime-local", "aria-label": `${t("column.date")}: ${file.name}`, value: localValue(date ? new Date(date) : guessDate(file)) });
        row.root = h("li.upload-row", h("div.upload-name", h("strong", file.name), h("span.muted", byteSize(file.size)),
            h("button.icon-button", { type: "button", "aria-label": t("remove.file", { name: file.name }), onclick: () => {
                rows.splice(rows.indexOf(row), 1);
                add([]);
            } }, icon("close"))), complaint ? error : h("div.upload-fields", row.patient, row.date));
        return row;
    };
    input.addEventListener("change", () => {
        add([...input.files]);
        input.value = "";
    });
    all && all.querySelector("select").addEventListener("change", (event) => {
        for (const row of rows) row.patient.value = event.target.value;
    });
    for (const type of ["dragover", "drop"]) {
        zone.addEventListener(type, (event) => {
            event.preventDefault();
            event.stopPropagation();
            if (type === "drop") add([...event.dataTransfer.files]);
        });
    }
    add(files);
    let orders = [];
    const title = replaces ? t("upload.title.again") : t("upload.title");
    await dialog({
        title, wide: true, submit: t("upload.start"), body: [nobody, zone, all, list, language],
        onSubmit: async (data) => {
            const good = rows.filter((row) => !row.complaint);
            if (rows.length > good.length) throw new Error(t("upload.remove-bad"));
            if (good.length === 0) throw new Error(t("upload.none"));
            const unnamed = good.find((row) => !isPatient && !row.patient.value);
            if (unnamed) {
                unnamed.patient.focus();
                throw new Error(t("upload.patient.missing"));
            }
            orders = good.map((row) => orderOf(row, user, patients, data.get("language")));
        },
    });
    return orders;
}

function orderOf({ file, patient, date }, user, patients, language) {
    const isPatient = user.role === "patient";
    return {
        file, patientId: isPatient ? user.id : patient.value, language: language || null,
        patientName: isPatient ? "" : patients.find(({ id }) => id === patient.value)?.full_name ?? "",
        date: date.value ? new Date(date.value).toISOString() : null,
    };
}

const optionOf = (patient) => [patient.id, `${patient.full_name} (${patient.email})`];

/** Lets the user drop files anywhere on the page. */
export function watchDrops(uploads) {
    const veil = document.getElementById("drop-veil");
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    let depth = 0; // dragenter and dragleave come for each element under the pointer
    const move = (step) => (event) => {
        if (!hasFiles(event)) return;
        depth = Math.max(0, depth + step);
        veil.hidden = depth === 0 || Boolean(document.querySelector("dialog[open]"));
    };
    window.addEventListener("dragenter", move(1));
    window.addEventListener("dragleave", move(-1));
    window.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
    window.addEventListener("drop", (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault(); // the browser would leave the page and play the file
        depth = 0;
        veil.hidden = true;
        uploads.ask({ files: [...event.dataTransfer.files] });
    });
}
