/** The addresses of the page: `#/name/id?query`. Nothing behind the `#` reaches a server, nor its log. */

const REMEMBERED = "therapybridge.place";

/** The parts of an address. Its `key` is the same for the same address. */
export function parse(hash) {
    const [path, query = ""] = hash.replace(/^#?\/?/, "").split("?");
    const [name = "", id = ""] = path.split("/");
    return { name: name || "sessions", id: id.toLowerCase(), query: new URLSearchParams(query), key: hash };
}

/** An address with a changed query. Empty values are left out. */
export function withQuery({ name, id, query }, changes) {
    const next = new URLSearchParams(query);
    for (const [key, value] of Object.entries(changes)) {
        if (value === null || value === undefined || value === "") next.delete(key);
        else next.set(key, String(value));
    }
    const path = name === "sessions" && !id ? "#/" : `#/${[name, id].filter(Boolean).join("/")}`;
    return next.size ? `${path}?${next}` : path;
}

/** Where the user was: the scroll positions of the browser's history, and the place at the end of a sign-in. */
export class Places {
    #positions = new Map();
    #key = "";

    constructor() {
        history.scrollRestoration = "manual";
        let isPlanned = false;
        window.addEventListener("scroll", () => {
            if (isPlanned) return;
            isPlanned = true;
            requestAnimationFrame(() => {
                isPlanned = false;
                this.#positions.set(this.#key, window.scrollY);
            });
        }, { passive: true });
    }

    /** Notes the entry of the history. Returns true if the user has been there before. */
    arrive() {
        const known = history.state?.place;
        this.#key = known ?? String(Math.random());
        if (!known) history.replaceState({ place: this.#key }, "");
        return Boolean(known);
    }

    restore(isBack) {
        window.scrollTo(0, (isBack && this.#positions.get(this.#key)) || 0);
    }

    /** At a sign-in: returns to the place that an expiry has interrupted. */
    enter(user) {
        const [owner, hash] = readJSON(REMEMBERED) ?? [];
        store(REMEMBERED, null);
        if (owner === user.id && hash && /^#?\/?$/.test(location.hash)) history.replaceState(null, "", hash);
    }

    /** At the end of a sign-in: clears the address. The place that may come back has no search, which can hold a name. */
    leave(user, { returns }) {
        this.#positions.clear();
        const { name, id } = parse(location.hash);
        store(REMEMBERED, returns ? [user.id, `#/${[name, id].filter(Boolean).join("/")}`] : null);
        history.replaceState(null, "", location.pathname);
    }
}

function readJSON(key) {
    try {
        return JSON.parse(sessionStorage.getItem(key) ?? "null");
    } catch {
        return null;
    }
}

function store(key, value) {
    try {
        if (value === null) sessionStorage.removeItem(key);
        else sessionStorage.setItem(key, JSON.stringify(value));
    } catch {
        // Without storage, the next sign-in begins with the list.
    }
}
