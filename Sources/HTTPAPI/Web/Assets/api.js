/**
 * The server's HTTP API, through the client of `/client.js`. The tokens are in HttpOnly cookies, which no script can read.
 * The client refreshes an expired access token once for all tabs, and sends the request again.
 */

import { ApiError, TherapyBridge } from "/client.js";

export { ApiError };

/** The server of this page. */
export const bridge = new TherapyBridge();

/** The words for an answer without a detail. */
const FALLBACK_WORDS = {
    0: "We cannot reach the server. Please check your connection.",
    401: "Please sign in.",
    403: "You do not have the right to do that.",
    404: "This session does not exist, or you cannot see it.",
    409: "This is not possible in the session’s present state.",
    410: "The upload has ended. Please begin again.",
    413: "The file is too large.",
    415: "We cannot read the audio format of this file.",
    429: "Too many attempts. Please wait a moment.",
    503: "The server cannot answer right now. Please try again in a moment.",
};

const ENDED = "Your session has ended. Please sign in again.";
const DEACTIVATED = "Your account has been deactivated. Please ask your administrator.";

let signedOutHandler = () => {};

/** Sets the handler for the end of the sign-in. It gets the words for the user. */
export function whenSignedOut(handler) {
    signedOutHandler = handler;
}

/** Returns the JSON of the answer, or null if it has no body. Throws ApiError. */
export function request(method, path, { body, signal } = {}) {
    return authorised(() => bridge.request(method, path, { body, signal }));
}

export const get = (path, options) => request("GET", path, options);

/** Signs in. The cookies carry the tokens. */
export const signIn = (email, password) => inWords(() => bridge.signIn(email, password));

/** Signs out. This also works if the sign-in has already ended. */
export const signOut = () => inWords(() => bridge.signOut());

/** Does something that needs the sign-in. Calls the handler if the sign-in has ended, or the account is inactive. */
export async function authorised(attempt) {
    try {
        return await inWords(attempt);
    } catch (error) {
        if (isOfInactiveAccount(error)) signedOutHandler(DEACTIVATED);
        else if (error.status === 401) signedOutHandler(isOfInactiveAccount(bridge.credentials.refusal) ? DEACTIVATED : ENDED);
        throw error;
    }
}

/** A 403 has several reasons. An inactive account has no rights at all, and the page must stop showing its data. */
function isOfInactiveAccount(error) {
    return error?.status === 403 && error.type === "/problems/account-inactive";
}

/** Gives an error words for users. */
async function inWords(attempt) {
    try {
        return await attempt();
    } catch (error) {
        if (error instanceof ApiError) {
            error.message = error.detail || FALLBACK_WORDS[error.status] || error.message;
            if (error.status === 429 && error.retryAfter) error.message += ` Try again in ${error.retryAfter / 1000} s.`;
        }
        throw error;
    }
}
