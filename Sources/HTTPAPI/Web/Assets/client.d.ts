/** The types of client.js. docs/clients.md describes the client. */

/** The statuses that this release has. A newer server may have more. */
export type Status =
    | "uploading" | "pending" | "preprocessing" | "transcribing" | "diarizing" | "transcribed" | "extracting_notes"
    | "processed" | "failed" | (string & {});

/** The progress of a session. */
export interface Progress {
    session_id: string;
    status: Status;
    /** 0 to 100. */
    progress: number;
    message: string | null;
    /** Set only if the status is `failed`. */
    error: string | null;
    /** Seconds, or null if they are not known. */
    estimated_time_remaining: number | null;
    /** How many segments the transcript has. */
    segments: number;
    /** Starts at 1 and grows by one with each change. */
    version: number;
    attempt: number;
    created_at: string;
    updated_at: string;
}

export interface Session {
    id: string;
    patient_id: string;
    patient_name: string | null;
    therapist_id: string | null;
    therapist_name: string | null;
    session_date: string | null;
    filename: string | null;
    bytes: number | null;
    duration_seconds: number | null;
    language: string | null;
    created_at: string;
    progress: Progress;
}

export interface User {
    id: string;
    email: string;
    full_name: string;
    role: "therapist" | "patient" | "admin" | "pipeline" | (string & {});
}

export interface Transcript {
    text: string;
    segments: { start: number; end: number; text: string; speaker?: string }[];
    attempt: number;
    is_final: boolean;
    is_complete: boolean;
    duration_seconds: number | null;
    announced_seconds: number | null;
}

/** An event of the stream of all sessions. */
export type SessionEvent =
    | { event: "progress" | "complete" | "error" | "session_added"; id: string | null; data: Progress }
    | { event: "session_removed"; id: string | null; data: { session_id: string } }
    /** The start of a connection is complete. Sessions that finished before it did not come: read the list. */
    | { event: "ready"; id: string | null; data: {} };

/** How a watch follows a session. */
export type Transport =
    /** Default: fetch(), with a cookie or a bearer token. Sees heartbeats. */
    | "fetch"
    /** The browser's EventSource, with a cookie. */
    | "eventsource"
    /** The browser's EventSource, with a new ticket for each connection. */
    | "ticket"
    /** The browser's WebSocket, with a cookie or a ticket. */
    | "websocket"
    /** GET of the status, or of the list of unfinished sessions, with its ETag. For networks that hold streams back. */
    | "poll";

/** Why a watch has ended. */
export type EndReason =
    /** The session is processed. */
    | "complete"
    /** The session failed. `detail` says why. */
    | "failed"
    /** The session was finished before, and `lastEventId` names its last version. */
    | "finished"
    /** You closed the watch, or aborted its signal. */
    | "closed"
    /** The user has lost the right to see the session, or the session was deleted. */
    | "revoked"
    /** The sign-in has ended: the token could not be refreshed. */
    | "signed-out"
    | "account-inactive"
    | "forbidden"
    | "not-found"
    /** The server does not accept the request. This is a fault of the client or of its caller. */
    | "refused";

export interface WatchState {
    name:
        /** The first connection is under way. */
        | "connecting"
        /** Events arrive. */
        | "live"
        /** The server has a fault or is busy. What you show may be old. */
        | "degraded"
        /** Connected again, or about to be after a planned end. The missed events follow. */
        | "catching-up"
        /** The connection is lost. The client tries again by itself. */
        | "offline"
        /** See `reason`. */
        | "ended";
    /** False if the transport hides heartbeats: the state can be `live` on a network that has frozen. */
    canDetectFreeze: boolean;
    reason: EndReason | null;
    /** Words for a log or a developer. */
    detail: string;
}

export interface WatchOptions {
    transport?: Transport;
    signal?: AbortSignal;
    /** Resumes after this id: the `version` of one session, or an `id` of all sessions. */
    lastEventId?: string;
    /** Milliseconds of silence after which a connection counts as lost. Default: 25,000. */
    watchdog?: number;
    /** Milliseconds before the first reconnect, until the server names its own delay. Default: 2,000. */
    retry?: number;
    /** Milliseconds between two polls. Default: 2,000. */
    pollInterval?: number;
    onProgress?(progress: Progress): void;
    onEvent?(event: { event: string; id: string | null; data: any }): void;
    onState?(state: WatchState): void;
}

export class Watch<Item> implements AsyncIterable<Item> {
    readonly state: WatchState;
    readonly progress: Progress | null;
    readonly lastEventId: string | null;
    /** Never rejects. */
    readonly ended: Promise<{ reason: EndReason; detail: string }>;
    /** No callback is called from then on. */
    close(): void;
    /** Throws WatchEnded, unless the reason is `complete`, `failed`, `finished` or `closed`. */
    [Symbol.asyncIterator](): AsyncIterableIterator<Item>;
}

export interface UploadOptions {
    patientId: string;
    /** Default: a new UUID. The same id, name and size continue an unfinished upload. */
    sessionId?: string;
    /** Default: the name of the File. It needs the extension of a recording. */
    filename?: string;
    /** RFC 3339. Default: now. */
    sessionDate?: string;
    /** BCP 47. */
    language?: string;
    /** Bytes in a request. Default: from 64 KiB to 16 MiB, by the speed of the network. */
    chunkSize?: number;
    /** False to send no checksums. They need a secure page. */
    checksum?: boolean;
    /** The `location` of an earlier Upload of the same file and `sessionId`, to continue it. */
    location?: string;
    /** Milliseconds before the first repeat. Default: 1,000. */
    retry?: number;
    signal?: AbortSignal;
    onProgress?(bytes: { sent: number; total: number }): void;
}

export class Upload {
    readonly sessionId: string;
    readonly location: string | null;
    /** The session's id, once the session can be watched. Rejects as `stored` does. */
    readonly created: Promise<string>;
    /** Rejects with an ApiError, or with the reason of the abort. */
    readonly stored: Promise<Session>;
    /** Ends the upload at the server. Abort the signal first. */
    cancel(): Promise<void>;
}

export class ApiError extends Error {
    /** 0 if no answer came. */
    readonly status: number;
    /** For example `/problems/account-inactive`. */
    readonly type: string;
    readonly title: string;
    readonly detail: string;
    readonly errors: { field: string; code: string }[];
    readonly requestId: string | null;
    /** Milliseconds. */
    readonly retryAfter: number | null;
    readonly isTemporary: boolean;
}

export class WatchEnded extends Error {
    readonly reason: EndReason;
}

export interface TokenPair { access_token: string; refresh_token: string }

/** Where the tokens are kept. Both functions are synchronous. */
export interface TokenStore {
    get(): TokenPair | null;
    set(pair: TokenPair | null): void;
}

export function memoryTokens(): TokenStore;
export function storedTokens(key?: string): TokenStore;

export interface ClientOptions {
    /** Such as `https://bridge.example.org`. Default: the origin of the page. */
    baseURL?: string;
    /** Where bearer tokens are kept. Without it, the client uses the server's cookies. */
    tokens?: TokenStore | null;
    fetch?: typeof fetch;
    EventSource?: typeof EventSource;
    WebSocket?: typeof WebSocket;
}

export interface RequestOptions {
    headers?: Record<string, string>;
    /** Sent as JSON. */
    body?: unknown;
    /** Sent as it is. */
    raw?: BodyInit;
    signal?: AbortSignal;
}

export class TherapyBridge {
    constructor(options?: ClientOptions);
    /** `refusal` is the answer that refused the last refresh. */
    readonly credentials: { readonly refusal: ApiError | null };
    signIn(email: string, password: string): Promise<User>;
    signOut(): Promise<void>;
    me(options?: RequestOptions): Promise<User>;
    sessions(
        filter?: Record<string, string | number | null | undefined>, options?: RequestOptions,
    ): Promise<{ items: Session[]; next_cursor: string | null }>;
    session(id: string, options?: RequestOptions): Promise<Session>;
    transcript(id: string, options?: RequestOptions): Promise<Transcript>;
    retry(id: string, again?: boolean): Promise<Progress>;
    cancel(id: string): Promise<Progress>;
    delete(id: string): Promise<null>;
    watch(sessionId: string, options?: WatchOptions): Watch<Progress>;
    watchAll(options?: WatchOptions): Watch<SessionEvent>;
    upload(file: Blob, options: UploadOptions): Upload;
    /** The JSON of any other route, or null for an empty answer. Refreshes the token after a 401. */
    request<Answer = any>(method: string, path: string, options?: RequestOptions): Promise<Answer>;
    /** As request(), for the headers of the response or a body that is not JSON. Throws an ApiError for a status above 299. */
    response(method: string, path: string, options?: RequestOptions): Promise<Response>;
}

/** Reads the format of Server-Sent Events. */
export class EventParser {
    constructor(onRetry?: (milliseconds: number) => void);
    readonly isInsideEvent: boolean;
    feed(text: string): { event: string; id: string | null; data: string }[];
}
