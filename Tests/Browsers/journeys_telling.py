"""What the page tells: that something is done, that the address is wrong, that a part of a recording is missing."""
import re

from journeys_basic import enter
from network import Network
from scene import call
from world import WORDS

# What the system would show, which no driver can see. The page asks, decides and writes.
SYSTEM = """
window.shown = [];
window.Notification = class {
    static permission = "default";
    static async requestPermission() { return window.Notification.permission = "granted"; }
    constructor(title, options) { window.shown.push(`${title} | ${options.body} | ${options.tag}`); }
    close() {}
};
"""
# Another tab hears what the leading tab has read of the stream, after that tab has dealt with it.
LISTEN = """
window.heard = [];
window.channel = new BroadcastChannel("therapybridge");
window.channel.onmessage = ({ data }) => { if (data.type === "event") window.heard.push(data.event); };
"""


def notification(world):
    """Who wants it gets a notification when a session is done or has failed and the page is hidden. It names nobody."""
    site = world.site
    therapist, patient = site.pair()
    done, failed = site.session(patient), site.session(patient, "broken.wav")
    browser = enter(world.browser(), therapist)
    browser.read("in progress \\(2\\)")
    browser.read("live · \\d")
    browser.run(SYSTEM)
    browser.open("/#/account")
    browser.click("checkbox", "^notify me")
    browser.until("the browser was asked", lambda: browser.run("return window.Notification.permission") == "granted")
    work = site.claim(done)
    work.report("transcribing", 40)
    work.transcript()
    work.report("transcribed", 80)
    if "hidden tabs" in world.engine.lacks:
        browser.run("Object.defineProperty(document, 'hidden', { get: () => true })")
    page = browser.tab
    browser.new_tab("/docs")
    browser.run(LISTEN)
    work.report("processed", 100)
    site.fail(failed)
    browser.until("the leading tab has read both", lambda: {"complete", "error"} <= set(browser.run("return window.heard")))
    browser.switch(page)
    shown = sorted(browser.run("return window.shown"))
    assert shown == [f"A session needs you | TherapyBridge | {failed}", f"A transcript is ready | TherapyBridge | {done}"], shown
    assert patient.name not in str(shown)
    # A visible page shows no notification.
    browser.open("/#/")
    browser.read("needs you \\(1\\)")
    if browser.run("return document.hidden"):
        return
    call(site.url, "POST", f"/api/sessions/{failed}/retry", site.admin, {})
    browser.read("in progress \\(1\\)")
    site.fail(failed)
    browser.read("needs you \\(1\\)")
    assert len(browser.run("return window.shown")) == 2, "a visible page shows a notification"


def wrong_address(world):
    """The page is opened at an address that the server does not have, or by plain http: the form says so before anybody signs in."""
    browser = world.browser(world.server(PUBLIC_URL="https://sessions.example.org")).open()
    browser.read("set up for another address")
    link = browser.see("link", "^https://sessions\\.example\\.org$")
    assert link.attribute("href") == "https://sessions.example.org"
    # Only 127.0.0.1, localhost and ::1 are this machine for the server: this address stands for one of a network.
    gate = Network(0, host="127.0.0.2")
    try:
        address = f"http://127.0.0.2:{gate.port}"
        gate.target = world.server(PUBLIC_URL=address).port
        browser.url = address
        browser.open()
        browser.read("plain http")
        browser.unread("set up for another address")
    finally:
        gate.close()
    browser.url = world.site.address
    browser.open()
    browser.see("button", "^sign in$")
    browser.until("the modules are there", lambda: browser.run("return document.documentElement.dataset.ready"))
    browser.unread("plain http|another address")


def incomplete_recording(world):
    """A recording was cut, and of another one a track: the page says what is missing, above the transcript."""
    site = world.site
    therapist, patient = site.pair()
    short, track = site.processed(site.session(patient)), site.processed(site.session(patient, "tracks.ogg"))
    # A worker measures the recording. The journeys have none.
    site.sql(f"SELECT app.set_length('{short}', 31, 70, false); SELECT app.set_length('{track}', 70, 70, true)")
    browser = enter(world.browser(), therapist, f"/#/sessions/{short}", re.escape(patient.name))
    browser.read("the file announces 1:10, but only 0:31 could be read")
    browser.read(re.escape(WORDS[0][3]))
    browser.open(f"/#/sessions/{track}")
    browser.read("one of its tracks ends early")
    browser.unread("could be read")


