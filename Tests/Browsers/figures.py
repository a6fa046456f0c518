"""What is measured: the weight of the first view, when it can be used in a slow network, and the time from a commit to the page."""
import datetime
import time

from journeys_basic import enter

# What an hour brings with 12 changes a second.
HOUR = 45_000

# For each change of a bar: the time at which the page had it, in milliseconds since 1970.
WATCH = """
globalThis.seenAt = {};
const note = (bar) => {
    const row = bar.closest("[data-session]");
    if (row) seenAt[`${row.dataset.session} ${bar.value}`] ??= performance.timeOrigin + performance.now();
};
new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) {
        if (target.tagName === "PROGRESS") note(target);
        for (const each of addedNodes) each.querySelectorAll?.("progress").forEach(note);
    }
}).observe(document.getElementById("main"), { subtree: true, childList: true, attributes: true, attributeFilter: ["value"] });
"""

PAINT = """
new PerformanceObserver((list) => {
    for (const { name, startTime } of list.getEntries()) {
        if (name !== "first-contentful-paint") continue;
        globalThis.paintedAt = startTime;
        if (!globalThis.isFast) continue;
        globalThis.isEarly = document.documentElement.dataset.ready === undefined;
        document.getElementById("sign-in-email").value = "nobody@journeys.test";
        document.getElementById("sign-in-password").value = "a wrong password";
        document.getElementById("sign-in-submit").click();
    }
}).observe({ type: "paint", buffered: true });
"""

WEIGHT = """
const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
return entries.filter(({ name }) => !new URL(name).pathname.startsWith("/api/"))
    .map(({ name, encodedBodySize }) => [new URL(name).pathname, encodedBodySize]);
"""


def first_view(world):
    """The first view weighs under 40,000 bytes, and its form is usable within 1.5 s at 400 ms and 50 kB/s. Nothing comes from another server."""
    browser = world.browser().open("/docs")
    devtools = browser.engine.devtools
    devtools("Network.enable")
    devtools("Network.clearBrowserCache")
    devtools("Network.emulateNetworkConditions", {"offline": False, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000})
    # The form is in the HTML. When it is painted, it takes what is typed, and start.js keeps what is sent for the modules.
    devtools("Page.enable")
    devtools("Page.addScriptToEvaluateOnNewDocument", {"source": PAINT})
    browser.open()
    browser.see("button", "^sign in$")
    painted = browser.until("it is painted", lambda: browser.run("return globalThis.paintedAt"), 20)
    whole = browser.until("the modules are there", lambda: browser.run("return document.documentElement.dataset.ready ? performance.now() : null"), 20)
    parts = browser.run(WEIGHT)
    weight = sum(size for _, size in parts)
    world.note("first view", f"{weight:,} bytes in {len(parts)} files")
    world.note("form painted at 400 ms and 50 kB/s", f"{painted / 1000:.2f} s")
    world.note("all modules loaded", f"{whole / 1000:.2f} s")
    assert weight < 40_000, parts
    foreign = browser.run("return performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => new URL(name).origin !== location.origin)")
    assert not foreign, foreign
    assert painted < 1_500, painted
    # Once more, with somebody who sends the form as soon as they see it.
    devtools("Network.clearBrowserCache")
    devtools("Page.addScriptToEvaluateOnNewDocument", {"source": "globalThis.isFast = true"})
    browser.open()
    browser.read("password is wrong", 30)
    assert browser.run("return globalThis.isEarly"), "the modules were there before the form could be sent"


def commit_to_page(world):
    """44 sessions in progress, after as many changes as an hour brings: from the commit of a percentage to the page, p99 within 100 ms."""
    site = world.server(is_direct=True)
    therapist, patient = site.pair()
    sessions = [site.session(patient, "short.wav") for _ in range(44)]
    for session in sessions:
        site.report(session, "transcribing", 20)
    listed = ", ".join(f"'{session}'" for session in sessions)
    site.sql(f"""
        DO $$
        DECLARE
            sessions uuid[] := ARRAY[{listed}];
        BEGIN
            FOR number IN 1..{HOUR} LOOP
                PERFORM app.report_progress(sessions[1 + number % 44], 'transcribing', 20, 'Change ' || number);
                COMMIT;
            END LOOP;
        END $$""", user="postgres")
    browser = world.browser(site)
    enter(browser, therapist)
    browser.read("in progress \\(44\\)", 30)
    browser.read("live · \\d")
    browser.run(WATCH)
    committed = {}
    for percent in range(21, 30):
        for session in sessions:
            start = time.monotonic()
            answer = site.report(session, "transcribing", percent)
            committed[f"{session} {percent}"] = datetime.datetime.fromisoformat(answer["updated_at"]).timestamp() * 1000
            time.sleep(max(0, 0.08 - (time.monotonic() - start)))
    browser.until("the last change", lambda: browser.run("return Object.keys(seenAt).length") >= len(committed))
    seen = browser.run("return seenAt")
    late = sorted(seen[key] - at for key, at in committed.items() if key in seen)
    p50, p99 = late[len(late) // 2], late[int(len(late) * 0.99)]
    world.note("commit to page", f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, {len(late)} changes")
    assert len(late) == len(committed), "a change is missing"
    assert p99 <= 100, f"p99 {p99:.0f} ms"
