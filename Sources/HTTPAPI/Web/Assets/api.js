/**
 * The server's HTTP API, through the client of `/client.js`. The tokens are in HttpOnly cookies, which no script can read.
 * The client refreshes an expired access token once for all tabs, and sends the request again.
 */

import { ApiError, TherapyBridge } from "/client.js";
import { limitedFetch } from "./wire.js";
import { has, language, t } from "./words.js";

export { ApiError };

/** The server of this page. */
export const bridge = new TherapyBridge({ fetch: limitedFetch });

let signedOutHandler = () => {};

/** Sets the handler for the end of the sign-in. It gets `deactivated` or `ended`. */
export function whenSignedOut(handler) {
    signedOutHandler = handler;
}

/** Returns the JSON of the answer, or null if it has no body. Throws ApiError. */
export function request(method, path, { body, headers, signal } = {}) {
    return authorised(() => bridge.request(method, path, { body, headers, signal }));
}

export const get = (path, options) => request("GET", path, options);

/** The answer as it came, for entity tags and texts. Throws ApiError for any status above 299. */
export function fetchRaw(method, path, { body, raw, headers, signal } = {}) {
    return authorised(async () => {
        const response = await bridge.authorised(method, path, { body, raw, headers, signal });
        if (response.ok) return response;
        let problem = {};
        try {
            problem = (await response.json()) ?? {};
        } catch {
            // A proxy in front of the server may answer with HTML.
        }
        throw new ApiError(response.status, problem);
    });
}

/** Reads all pages of a list. */
export async function getAll(path, options) {
    const items = [];
    let cursor = "";
    do {
        const page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=200${cursor}`, options);
        items.push(...page.items);
        cursor = page.next_cursor === null ? null : `&cursor=${encodeURIComponent(page.next_cursor)}`;
    } while (cursor !== null);
    return items;
}

/** Signs in. The cookies carry the tokens. */
export const signIn = (email, password) => inWords(() => bridge.signIn(email, password));

/** Signs out. This also works if the sign-in has already ended. */
export const signOut = () => inWords(() => bridge.signOut());

/** Does something that needs the sign-in. Calls the handler if the sign-in has ended, or the account is inactive. */
export async function authorised(attempt) {
    try {
        return await inWords(attempt);
    } catch (error) {
        if (isOfInactiveAccount(error)) signedOutHandler("deactivated");
        else if (error.status === 401) signedOutHandler(isOfInactiveAccount(bridge.credentials.refusal) ? "deactivated" : "ended");
        throw error;
    }
}

/** A 403 has several reasons. An inactive account has no rights at all, and the page must stop showing its data. */
function isOfInactiveAccount(error) {
    return error?.status === 403 && error.type === "/problems/account-inactive";
}

/** Gives an error words for users. The server's own words are English, and more exact than those by status. */
async function inWords(attempt) {
    try {
        return await attempt();
    } catch (error) {
        if (error instanceof ApiError) {
            const kind = error.type.replace("/problems/", "problem.");
            const ours = [kind, `problem.${error.status}`].find(has);
            const theirs = error.status === 0 ? "" : error.detail;
            error.message = (language === "en" && theirs) || (ours ? t(ours) : error.message);
            if (error.status === 429 && error.retryAfter) error.message += ` ${t("retry-after", { n: error.retryAfter / 1000 })}`;
        }
        throw error;
    }
}
