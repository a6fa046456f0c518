/**
 * The server's HTTP API. The tokens are in HttpOnly cookies, which this code cannot read. If the access token has
 * expired, a request refreshes it once and is sent again.
 */

/** An error of a request. `message` is for users. `status` is 0 if no answer came. */
export class ApiError extends Error {
    constructor(status, message) {
        super(message);
        this.name = "ApiError";
        this.status = status;
    }

    /** True if a later try may succeed: after no answer, too many requests, or an error of the server. */
    get isTemporary() {
        return this.status === 0 || this.status === 429 || this.status >= 500;
    }
}

/** The words for an answer without a detail. */
const FALLBACK_WORDS = {
    401: "Please sign in.",
    403: "You do not have the right to do that.",
    404: "This session does not exist, or you cannot see it.",
    409: "This is not possible in the session’s present state.",
    413: "The file is too large.",
    415: "We cannot read the audio format of this file.",
    429: "Too many attempts. Please wait a moment.",
    503: "The server cannot answer right now. Please try again in a moment.",
};

/** Makes an ApiError from an answer's status and its problem+json text (RFC 9457). */
export function problemFrom(status, text, retryAfter = null) {
    let problem = {};
    try {
        problem = JSON.parse(text) ?? {};
    } catch {
        // A proxy in front of the server may answer with HTML or an empty body.
    }
    let message = problem.detail || FALLBACK_WORDS[status] || problem.title || `The server answered with ${status}.`;
    const seconds = Number(retryAfter);
    if (status === 429 && seconds > 0) message += ` Try again in ${seconds} s.`;
    return new ApiError(status, message);
}

/** The error of a request without an answer. */
export function unreachable() {
    return new ApiError(0, "We cannot reach the server. Please check your connection.");
}

const REFRESHED_AT = "therapybridge.refreshed-at";
const ENDED = "Your session has ended. Please sign in again.";
const DEACTIVATED = "Your account has been deactivated. Please ask your administrator.";

let refreshing = null;
/** Why the last refresh failed. */
let endedBecause = ENDED;
let refreshedAt = 0;
let signedOutHandler = () => {};

/** Sets the handler for the end of the sign-in. It gets the words for the user. */
export function whenSignedOut(handler) {
    signedOutHandler = handler;
}

/** Returns the JSON of the answer, or null if it has no body. Throws ApiError. */
export async function request(method, path, { body, signal } = {}) {
    const response = await authorised(() => send(method, path, body, signal));
    if (!response.ok) throw await errorOf(response);
    return response.status === 204 ? null : response.json();
}

export const get = (path, options) => request("GET", path, options);

/** Signs in. It ignores the tokens in the answer, because the cookies carry them. */
export async function signIn(email, password) {
    const response = await send("POST", "/api/auth/login", { email, password });
    if (!response.ok) throw await errorOf(response);
    noteRefresh();
    return (await response.json()).user;
}

/** Signs out. This also works if the sign-in has already ended. */
export async function signOut() {
    const response = await send("POST", "/api/auth/logout");
    if (!response.ok) throw await errorOf(response);
}

/** Makes a request. After a 401, refreshes the token and makes it again. Calls the handler if the sign-in has ended. */
async function authorised(attempt) {
    const startedAt = Date.now();
    let response = await attempt();
    if (response.status === 401 && await refresh(startedAt)) response = await attempt();
    if (response.status === 401) signedOutHandler(endedBecause);
    else if (await isOfInactiveAccount(response)) signedOutHandler(DEACTIVATED);
    return response;
}

/** A 403 has several reasons. An inactive account has no rights at all, and the page must stop showing its data. */
async function isOfInactiveAccount(response) {
    if (response.status !== 403) return false;
    const problem = await response.clone().json().catch(() => null);
    return problem?.type === "/problems/account-inactive";
}

/**
 * Gets new tokens, unless that has happened since `startedAt`. A refresh token works once, and using it again ends the
 * sign-in. Therefore only one refresh runs at a time: a promise guards this tab, and a lock guards all tabs.
 * @returns {Promise<boolean>} false if the sign-in has ended
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

/** Web Locks need a secure context. Without one, nothing coordinates the tabs. */
function exclusively(work) {
    return navigator.locks ? navigator.locks.request("therapybridge.refresh", work) : work();
}

function noteRefresh() {
    refreshedAt = Date.now();
    try {
        localStorage.setItem(REFRESHED_AT, String(refreshedAt));
    } catch {
        // The user may have disabled storage. Each tab then refreshes on its own.
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
