"""The progress bars of docs/clients.md on a page of another website, in Chromium: the plain one and the one for React.

The page is at app.localhost, and the server at 127.0.0.1: for a browser, these are two sites. The browser reaches the server by
a link that the suite can cut. Everything that the page has is served from the texts of docs/, as a reader would copy them.
"""
import http.server
import os
import re
import sys
import threading
from pathlib import Path

from scene import Link, Server, call, password, wait_for

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Tests/Browsers"), str(ROOT / "Tests/PythonSupport")]

from browser import Browser  # noqa: E402
from engines import Chromium, Setup  # noqa: E402

REACT = Path("/usr/share/nodejs")
# Debian's React is a script and no module. A project with a bundler has neither this page nor these modules.
SHELL = """<!doctype html><html lang="en"><meta charset="utf-8"><title>React</title><div id="root"></div>
<script src="/react.js"></script><script src="/react-dom.js"></script>
<script type="importmap">{"imports": {"react": "/react.mjs", "react-dom/client": "/react-dom-client.mjs"}}</script>
<script type="module" src="/App.js"></script></html>"""
# For a browser, these two are one site, and 127.0.0.1 is another.
SUBDOMAIN, SIBLING = "app.clinic.localhost", "bridge.clinic.localhost"
TYPES = {"html": "text/html", "js": "text/javascript", "mjs": "text/javascript"}


def example(name):
    """The text of an example of the page."""
    text = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
    return re.search(rf"^```\w+ {re.escape(name)}\n(.*?)^```", text, re.M | re.S)[1]


class Website:
    """Another website, with its own host name and port. Its scripts call the server at `server`, once that is set."""

    def __init__(self):
        self.server = ""
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                text = site.file(self.path.strip("/"))
                data = (text or "").encode()
                self.send_response(404 if text is None else 200)
                self.send_header("Content-Type", TYPES.get(self.path.rsplit(".", 1)[-1], "text/plain") + "; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.listener.server_address[1]
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def origin(self, host="app.localhost"):
        return f"http://{host}:{self.port}"

    def file(self, name):
        """The text of a file, or None."""
        if name in ("page.html", "bar.js", "useProgress.js", "App.js"):
            return example(name).replace("https://bridge.example.org", self.server)
        if name == "client.js":
            return (ROOT / "docs/clients/client.js").read_text(encoding="utf-8")
        if name == "transports.html":
            return f"<!doctype html><title>Transports</title><script type=module>import * as all from '{self.server}/client.js'; window.all = all</script>"
        if name in ("react.js", "react-dom.js"):
            library = name.removesuffix(".js")
            return (REACT / library / "umd" / f"{library}.development.js").read_text(encoding="utf-8")
        return {
            "react.html": SHELL,
            "react.mjs": "export const { createElement, useEffect, useState } = window.React;",
            "react-dom-client.mjs": "export const { createRoot } = window.ReactDOM;",
        }.get(name)


class Scene:
    """A server that lets the website in, a session, and a browser."""

    def __init__(self, website, browser):
        self.website, self.browser = website, browser
        # A sign-in takes its time on a busy machine.
        browser.wire.command("POST", "timeouts", {"script": 300_000})
        self.reporter = Server()
        # Tokens of this server are good for a few seconds: the page has to refresh its own in the middle.
        origins = f"{website.origin()},{website.origin(SUBDOMAIN)}"
        self.server = Server(SSE_CORS_ORIGIN=origins, JWT_ACCESS_TTL="4", SSE_HEARTBEAT_INTERVAL="1")
        self.link = Link(self.server.port)
        website.server = self.link.url

    def close(self):
        self.link.close()
        self.server.stop()
        self.reporter.stop()

    def open(self, page, host="app.localhost"):
        self.browser.url = self.website.origin(host)
        self.browser.open("/" + page)

    def sign_in(self, secret):
        self.browser.fill("E-mail address", "therapist@demo.test")
        self.browser.fill("Password", secret)
        self.browser.click("button", "Sign in")

    def bar(self):
        """Value and class of the bar; the example for React has the class around it."""
        return self.browser.run("""
            const bar = document.querySelector("progress");
            return bar && [bar.value, bar.className || bar.parentElement.className]""")

    def shows(self, value, *states):
        def is_shown():
            found = self.bar()
            return found and found[0] == value and found[1] in states

        self.browser.until(f"the bar at {value}, {states}", is_shown)

    def requests(self, line):
        """How many requests with this text the browser has sent."""
        return sum(request.count(line) for request in self.link.requests)


def follow(scene, page):
    """Signs in, and watches a session to its end: through a refused password, expired tokens and a lost connection."""
    session = scene.reporter.new_session()
    scene.open(page)
    scene.sign_in("a wrong password")
    scene.browser.until("the server's words", lambda: scene.browser.run("return document.querySelector('p').textContent"))
    scene.sign_in(password())
    scene.shows(20, "live")
    scene.reporter.report(session, "transcribing", 30, "Hearing both voices")
    scene.shows(30, "live")
    scene.browser.read("Hearing both voices")
    # The token expires: the page refreshes it, across origins, and comes back.
    before = scene.requests(b"/status/stream")
    wait_for("a stream with a new token", lambda: scene.requests(b"/status/stream") > before)
    scene.reporter.report(session, "transcribing", 40)
    scene.shows(40, "live")
    scene.link.cut()
    scene.reporter.report(session, "transcribed", 60)
    scene.shows(60, "live")
    scene.reporter.report(session, "processed", 100, "All done")
    scene.shows(100, "ended")
    scene.browser.read("All done")


def missing_origin(scene):
    """A page whose origin the setting lacks gets nothing, not even the script, and the console speaks of CORS."""
    before = scene.requests(b"GET /client.js")
    scene.open("page.html", host="other.localhost")
    wait_for("the request of the page", lambda: scene.requests(b"GET /client.js") > before)
    wait_for("a word of CORS", lambda: any("blocked by CORS policy" in line for line in scene.browser.engine.complaints()))


TRANSPORT = """
    const [base, email, secret, session, transport, usesCookies, done] = arguments;
    const { TherapyBridge, memoryTokens } = window.all;
    const bridge = new TherapyBridge({ baseURL: base, tokens: usesCookies ? null : memoryTokens() });
    (async () => {
        await bridge.signIn(email, secret);
        const seen = [];
        const watch = bridge.watch(session, { transport, pollInterval: 100 });
        for await (const { progress } of watch) seen.push(progress);
        done([seen, (await watch.ended).reason, watch.state.canDetectFreeze]);
    })().catch((error) => done(String(error)));
"""


SEES_HEARTBEATS = {"fetch": True, "eventsource": False, "ticket": False, "websocket": False, "poll": True}


def transports(scene):
    """Every transport with a bearer token or a ticket works from another website."""
    follow_by(scene, [name for name in SEES_HEARTBEATS if name != "eventsource"], scene.link.url)


def subdomain(scene):
    """On a subdomain of the server's own site, all transports work with the server's cookies."""
    base = scene.link.url.replace("127.0.0.1", SIBLING)
    scene.website.server = base
    try:
        follow_by(scene, SEES_HEARTBEATS, base, host=SUBDOMAIN, uses_cookies=True)
    finally:
        scene.website.server = scene.link.url


def follow_by(scene, names, base, host="app.localhost", uses_cookies=False):
    scene.open("transports.html", host)
    scene.browser.until("the module is loaded", lambda: scene.browser.run("return Boolean(window.all)"))
    for transport in names:
        session = scene.reporter.new_session()
        scene.reporter.report(session, "transcribing", 30)
        ender = threading.Thread(target=finish, args=(scene, session))
        ender.start()
        found = scene.browser.run_async(TRANSPORT, base, "therapist@demo.test", password(), session, transport, uses_cookies)
        ender.join()
        if not isinstance(found, list) or found[0][-1] != 100 or found[1:] != ["complete", SEES_HEARTBEATS[transport]]:
            raise AssertionError(f"{transport}: {found}")


def finish(scene, session):
    """Takes a session to its end once a client follows it."""
    wait_for("a follower", lambda: scene.requests(f"/api/sessions/{session}/status".encode()))
    scene.reporter.report(session, "transcribed", 60)
    scene.reporter.report(session, "processed", 100)


COOKIES = """
    const [base, session, email, password, done] = arguments;
    (async () => {
        const headers = { "Content-Type": "application/json" };
        const login = await fetch(`${base}/api/auth/login`, {
            method: "POST", credentials: "include", headers, body: JSON.stringify({ email, password }) });
        const source = new EventSource(`${base}/api/sessions/${session}/status/stream`, { withCredentials: true });
        source.onerror = () => done([login.status, source.readyState]);
        source.onopen = () => done("open");
    })().catch((error) => done(String(error)));
"""


def cookies(scene):
    """Cookies do not work from another website: the browser keeps and sends none, and the stream is refused."""
    session = scene.reporter.new_session()
    scene.open("transports.html")
    found = scene.browser.run_async(COOKIES, scene.link.url, session, "therapist@demo.test", password())
    if found != [200, 2]:
        raise AssertionError(f"a stream with cookies: {found}")


def main():
    website = Website()
    engine = Chromium(Setup())
    scene = None
    failed = False
    try:
        scene = Scene(website, Browser(engine, website.origin()))
        checks = {
            "plain JavaScript": lambda: follow(scene, "page.html"), "React": lambda: follow(scene, "react.html"),
            "a missing origin": lambda: missing_origin(scene), "transports": lambda: transports(scene),
            "cookies of another website": lambda: cookies(scene), "cookies of a subdomain": lambda: subdomain(scene)}
        for name, check in checks.items():
            try:
                check()
                print(f"  {name}: passed", flush=True)
            except Exception as error:
                failed = True
                print(f"  {name}: FAILED: {error!r} {engine.complaints()}", flush=True)
    finally:
        if scene:
            scene.close()
        engine.stop()
        website.listener.shutdown()
    sys.exit(1 if failed else 0)


main()
