/** The upload dialog, and the drop of a file anywhere on the page. */

import { element, setText, showText } from "./dom.js";
import { byteSize } from "./words.js";

const limits = {
    bytes: Number(document.body.dataset.maxUploadBytes) || Infinity,
    extensions: document.body.dataset.extensions.toLowerCase().split(/[\s,]+/).filter(Boolean),
};

/** Why the user cannot upload this file, or "" if nothing is wrong. The server checks the file again. */
export function complaintAbout(file) {
    if (!file) return "Choose the recording first.";
    const name = file.name.trim().toLowerCase();
    if (!limits.extensions.some((extension) => name.endsWith(extension))) {
        return `“${file.name}” has an unknown format. Accepted formats: ${extensionList()}.`;
    }
    if (file.size === 0) return `“${file.name}” is empty.`;
    if (file.size > limits.bytes) {
        return `“${file.name}” has ${byteSize(file.size)}. The maximum is ${byteSize(limits.bytes)}.`;
    }
    return "";
}

function extensionList() {
    return limits.extensions.map((extension) => extension.replace(".", "")).join(", ");
}

/** Asks for patient, date and file, checks the file, and passes everything to `Uploads`. */
export class UploadDialog {
    #uploads;
    #onOpen;
    #user = null;
    #patients = [];
    /** @type {File | null} */
    #file = null;
    #dialog = document.getElementById("upload-dialog");
    #input = document.getElementById("upload-file");
    #patient = document.getElementById("upload-patient");
    #date = document.getElementById("upload-date");
    #zone = document.getElementById("upload-zone");
    #error = document.getElementById("upload-error");
    #start = document.getElementById("upload-start");

    /**
     * @param {import("./upload.js").Uploads} uploads
     * @param {() => void} onOpen is called when the dialog opens, and may call `setUser` with new patients
     */
    constructor(uploads, onOpen) {
        this.#uploads = uploads;
        this.#onOpen = onOpen;
        const maximum = Number.isFinite(limits.bytes) ? ` Up to ${byteSize(limits.bytes)}.` : "";
        setText(document.getElementById("upload-limits"), `${extensionList()}.${maximum}`);
        document.getElementById("upload-form").addEventListener("submit", (event) => this.#submit(event));
        document.getElementById("upload-dismiss").addEventListener("click", () => this.#dialog.close());
        this.#input.addEventListener("change", () => this.#choose(this.#input.files[0]));
        this.#watchDrops();
    }

    /** Sets the user, and the patients to upload for. `patients` is empty for a patient. */
    setUser(user, patients) {
        this.#user = user;
        this.#patients = patients;
        if (!user) this.#dialog.close();
        else if (this.#dialog.open && !this.#patient.value) this.#fillPatients();
    }

    get isAllowed() {
        return this.#user !== null && this.#user.role !== "pipeline";
    }

    open(file = null) {
        if (!this.isAllowed || this.#dialog.open) return;
        this.#fillPatients();
        this.#date.value = "";
        this.#input.value = "";
        this.#choose(file, { complain: file !== null });
        this.#dialog.showModal();
        this.#onOpen();
        if (!this.#patient.disabled && !this.#patient.value) this.#patient.focus();
        else document.getElementById("upload-file").focus();
    }

    #fillPatients() {
        const isPatient = this.#user.role === "patient";
        document.getElementById("upload-patient-block").hidden = isPatient;
        this.#patient.replaceChildren();
        if (this.#patients.length !== 1) {
            const prompt = element("option", "", "Choose a patient");
            prompt.value = "";
            this.#patient.append(prompt);
        }
        for (const patient of this.#patients) {
            const option = element("option", "", `${patient.full_name} (${patient.email})`);
            option.value = patient.id;
            this.#patient.append(option);
        }
        const hasNoPatients = !isPatient && this.#patients.length === 0;
        showText(document.getElementById("upload-patient-hint"),
            hasNoPatients ? "You have no patients yet. An administrator can assign them." : "");
        this.#patient.disabled = hasNoPatients || isPatient;
        this.#start.disabled = hasNoPatients;
    }

    #choose(file, { complain = true } = {}) {
        this.#file = file ?? null;
        this.#zone.classList.toggle("filled", Boolean(file));
        setText(document.getElementById("upload-file-name"),
            file ? `${file.name} (${byteSize(file.size)})` : "Drop an audio file here");
        setText(document.getElementById("upload-file-label"), file ? "Choose another file" : "Choose a file");
        setText(this.#error, file && complain ? complaintAbout(file) : "");
    }

    #submit(event) {
        event.preventDefault();
        const isPatient = this.#user.role === "patient";
        const patientId = isPatient ? this.#user.id : this.#patient.value;
        if (!patientId) {
            setText(this.#error, "Choose the patient first.");
            this.#patient.focus();
            return;
        }
        const complaint = complaintAbout(this.#file);
        if (complaint) {
            setText(this.#error, complaint);
            this.#input.focus();
            return;
        }
        const date = this.#date.value ? new Date(this.#date.value).toISOString() : undefined;
        this.#uploads.add({ patientId, date, file: this.#file });
        this.#dialog.close();
        location.hash = "#/";
    }

    #watchDrops() {
        const veil = document.getElementById("drop-veil");
        const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
        let depth = 0; // dragenter and dragleave come for each element under the pointer
        const show = () => {
            veil.hidden = depth === 0 || this.#dialog.open || !this.isAllowed;
            this.#zone.classList.toggle("over", depth > 0);
        };
        const move = (step) => (event) => {
            if (!hasFiles(event)) return;
            depth = Math.max(0, depth + step);
            show();
        };
        window.addEventListener("dragenter", move(1));
        window.addEventListener("dragleave", move(-1));
        window.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
        window.addEventListener("drop", (event) => {
            if (!hasFiles(event)) return;
            event.preventDefault(); // the browser would leave the page and play the file
            depth = 0;
            show();
            const file = event.dataTransfer.files[0];
            if (this.#dialog.open) this.#choose(file);
            else this.open(file);
        });
    }
}
