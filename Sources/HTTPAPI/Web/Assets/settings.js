/** What a user has chosen for this browser: the language of the page, and notifications. */

const NOTIFICATIONS = "therapybridge.notifications";

export const LANGUAGES = [["en", "English"], ["de", "Deutsch"], ["fr", "Français"]];

/** Keeps the language in a cookie: the server writes the page in it. Empty: the browser's own. */
export function chooseLanguage(language) {
    const age = language ? 31_536_000 : 0;
    document.cookie = `tb_language=${language}; Path=/; SameSite=Strict; Max-Age=${age}`;
    location.reload();
}

/** The chosen language, or "" for the browser's own. */
export function chosenLanguage() {
    return /(?:^|; )tb_language=(\w+)/.exec(document.cookie)?.[1] ?? "";
}

/** True if the user wants a notification when a session is finished, and the browser allows it. */
export function wantsNotifications() {
    try {
        return globalThis.Notification?.permission === "granted" && localStorage.getItem(NOTIFICATIONS) === "1";
    } catch {
        return false;
    }
}

/** Asks the browser for the permission. Returns false if it refuses. */
export async function setNotifications(isWanted) {
    localStorage.setItem(NOTIFICATIONS, isWanted ? "1" : "0");
    if (!isWanted) return true;
    return await globalThis.Notification?.requestPermission() === "granted";
}
