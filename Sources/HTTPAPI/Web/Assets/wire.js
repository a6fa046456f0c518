/**
 * How this page sends its requests. Each one has a limit, so that a network that swallows bytes shows as an error. The time
 * of every byte of a stream is noted, heartbeats included: that is how the page knows that what it shows is still true.
 */

/** The limit of a request until its answer begins, in milliseconds. Uploads of pieces have their own limit in client.js. */
const LIMIT = 25_000;
/** The limit for the rest of an answer. */
const BODY_LIMIT = 60_000;

let listener = () => {};

/** Sets the function that is called whenever a stream has brought bytes. */
export function whenHeard(heard) {
    listener = heard;
}

const send = globalThis.fetch.bind(globalThis);

/** The way of all requests of the page's client. */
export async function limitedFetch(url, init = {}) {
    const isStream = init.headers?.Accept === "text/event-stream";
    if (isStream) return observed(await send(url, init));
    if (init.body !== undefined && typeof init.body !== "string") return send(url, init);
    const limit = new AbortController();
    const stop = () => limit.abort();
    const timer = setTimeout(stop, LIMIT);
    init.signal?.addEventListener("abort", stop);
    try {
        if (init.signal?.aborted) stop();
        const response = await send(url, { ...init, signal: limit.signal });
        setTimeout(stop, BODY_LIMIT); // harmless once the body has been read
        return response;
    } catch (error) {
        init.signal?.removeEventListener("abort", stop);
        throw error;
    } finally {
        clearTimeout(timer);
    }
}

/** The same response, with a body that tells of its bytes. */
function observed(response) {
    if (!response.ok || !response.body) return response;
    listener();
    const reader = response.body.getReader();
    const body = new ReadableStream({
        async pull(controller) {
            const { value, done } = await reader.read();
            if (done) {
                controller.close();
            } else {
                listener();
                controller.enqueue(value);
            }
        },
        cancel: (reason) => reader.cancel(reason),
    });
    return new Response(body, { status: response.status, headers: response.headers });
}
