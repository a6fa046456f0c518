/**
 * The server's HTTP API. The tokens live in HttpOnly cookies that this code cannot read; a request that meets an
 * expired one refreshes it once and goes again.
 */

/** An answer that is not what was asked for. `message` is fit for people. `status` 0: no answer came at all. */
export class ApiError extends Error {
    constructor(status, message) {
        super(message);
        this.name = "ApiError";
        this.status = status;
    }

    /** True when trying again later may help: no answer, too many requests, or a server in trouble. */
    get isTemporary() {
        return this.status === 0 || this.status === 429 || this.status >= 500;
    }
}

/** What to say when the server gave no detail of its own. */
const FALLBACK_WORDS = {
    401: "Please sign in.",
    403: "You may not do that.",
    404: "There is no such session, or you may not see it.",
    409: "That is not possible in the present state.",
    413: "The file is too large.",
    415: "This file is not an audio format that we can read.",
    429: "Too many attempts. Please wait a moment.",
    503: "The server cannot answer right now. Please try again shortly.",
};

/** Makes an ApiError of an answer's status and its problem+json text (RFC 9457). */
export function problemFrom(status, text, retryAfter = null) {
    let problem = {};
    try {
        problem = JSON.parse(text) ?? {};
    } catch {
        // A proxy in between may answer with HTML or nothing.
    }
    let message = problem.detail || FALLBACK_WORDS[status] || problem.title || `The server answered with ${status}.`;
    const seconds = Number(retryAfter);
    if (status === 429 && seconds > 0) message += ` Try again in ${seconds} s.`;
    return new ApiError(status, message);
}

/** The error for "no answer came". */
export function unreachable() {
    return new ApiError(0, "The server cannot be reached. Please check your connection.");
}

const REFRESHED_AT = "therapybridge.refreshed-at";
const ENDED = "Your session has ended. Please sign in again.";
const DEACTIVATED = "Your account has been deactivated. Please ask your administrator.";

let refreshing = null;
/** What the last refresh that failed was refused for. */
let endedBecause = ENDED;
let refreshedAt = 0;
let signedOutHandler = () => {};

/** Sets what happens when the sign-in has ended for good. The handler gets the words for the person who was signed in. */
export function whenSignedOut(handler) {
    signedOutHandler = handler;
}

/** Answers JSON, or null when there is no body. Throws ApiError. */
export async function request(method, path, { body, signal } = {}) {
    const response = await authorised(() => send(method, path, body, signal));
    if (!response.ok) throw await errorOf(response);
    return response.status === 204 ? null : response.json();
}

export const get = (path, options) => request("GET", path, options);

/** Signs in. The tokens in the answer are ignored: the cookies carry them. */
export async function signIn(email, password) {
    const response = await send("POST", "/api/auth/login", { email, password });
    if (!response.ok) throw await errorOf(response);
    noteRefresh();
    return (await response.json()).user;
}

/** Signs out, also when the sign-in has ended before. */
export async function signOut() {
    const response = await send("POST", "/api/auth/logout");
    if (!response.ok) throw await errorOf(response);
}

/** Makes a request, and once more after a refresh when it meets 401. Tells the page when the sign-in has ended. */
async function authorised(attempt) {
    const startedAt = Date.now();
    let response = await attempt();
    if (response.status === 401 && await refresh(startedAt)) response = await attempt();
    if (response.status === 401) signedOutHandler(endedBecause);
    else if (await isOfInactiveAccount(response)) signedOutHandler(DEACTIVATED);
    return response;
}

/** A 403 has several reasons; this one ends every right of the account, so nothing of it may stay on the page. */
async function isOfInactiveAccount(response) {
    if (response.status !== 403) return false;
    const problem = await response.clone().json().catch(() => null);
    return problem?.type === "/problems/account-inactive";
}

/**
 * Gets new tokens, unless that happened since `startedAt`. A refresh token may be used once, and using it again
 * ends the whole sign-in; so one refresh runs at a time, in this tab by the shared promise, over all tabs by a lock.
 * @returns {Promise<boolean>} false when the sign-in has ended
 */
export function refresh(startedAt) {
    refreshing ??= exclusively(async () => {
        if (otherTabRefreshedAt() > startedAt) {
            refreshedAt = Date.now();
            return true;
        }
        const response = await send("POST", "/api/auth/refresh");
        if (response.ok) noteRefresh();
        else if (response.status === 429 || response.status >= 500) throw await errorOf(response);
        endedBecause = await isOfInactiveAccount(response) ? DEACTIVATED : ENDED;
        return response.ok;
    }).finally(() => { refreshing = null; });
    return refreshing;
}

/** Web Locks need a secure context; without one, tabs are on their own. */
function exclusively(work) {
    return navigator.locks ? navigator.locks.request("therapybridge.refresh", work) : work();
}

function noteRefresh() {
    refreshedAt = Date.now();
    try {
        localStorage.setItem(REFRESHED_AT, String(refreshedAt));
    } catch {
        // Storage may be switched off; other tabs then refresh for themselves.
    }
}

function otherTabRefreshedAt() {
    try {
        return Number(localStorage.getItem(REFRESHED_AT)) || 0;
    } catch {
        return 0;
    }
}

async function send(method, path, body, signal) {
    const headers = { Accept: "application/json, application/problem+json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
        return await fetch(path, {
            method, headers, signal, cache: "no-store", credentials: "same-origin",
            body: body === undefined ? undefined : JSON.stringify(body),
        });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw unreachable();
    }
}

async function errorOf(response) {
    const text = await response.text().catch(() => "");
    return problemFrom(response.status, text, response.headers.get("Retry-After"));
}
