"""What goes wrong: the server, the database, the network, and the end of rights."""
import re
import time
import urllib.request

from journeys_basic import enter, fill_in
from journeys_seeing import check
from scene import call


def watching(world, site):
    """A therapist who watches one session in progress, by a stream."""
    therapist, patient = site.pair()
    session = site.session(patient)
    browser = enter(world.browser(site), therapist)
    browser.read("in progress \\(1\\)")
    browser.read("live · \\d")
    return therapist, patient, session, browser


def lost_server(world):
    """The connection is lost: the page says so. When it is back, the page shows what was missed."""
    site = world.server()
    _, _, session, browser = watching(world, site)
    site.network.lose()
    browser.read("connection lost")
    problems = []
    check(browser, "offline", problems, with_axe=True)
    assert not problems, "; ".join(problems)
    site.report(session, "transcribing", 42)
    site.network.restore()
    browser.read("transcribing", 40)
    browser.read("live · \\d", 40)
    browser.unread("connection lost")


def stopped_and_started_server(world):
    """The server is stopped and started again. The page comes back by itself, and stays signed in."""
    site = world.server()
    _, patient, session, browser = watching(world, site)
    site.stop()
    browser.read("connection lost", 30)
    site.start()
    site.report(session, "transcribing", 42)
    browser.read("transcribing", 60)
    browser.read("live · \\d", 60)
    browser.click("link", re.escape(patient.name))
    browser.see("heading", re.escape(patient.name))


def lost_database(world):
    """The server cannot read its database: the page says so, keeps what it shows, and catches up afterwards."""
    site = world.server()
    _, patient, session, browser = watching(world, site)
    site.database.lose()
    browser.read("cannot read its database", 40)
    browser.read(re.escape(patient.name))
    site.database.restore()
    browser.unread("cannot read its database", 60)
    browser.until("the server reports", lambda: site.is_ready(), 30)
    site.report(session, "transcribing", 42)
    browser.read("transcribing", 30)


def frozen_network(world):
    """The network swallows every byte, and no connection ends. The page says within 25 s that what it shows may be old."""
    site = world.server()
    _, _, session, browser = watching(world, site)
    # The clock begins at the last byte that the page has heard.
    site.network.freeze()
    start = time.monotonic()
    browser.until("offline", lambda: re.search("connection lost|offline", browser.words(), re.IGNORECASE), 40)
    seconds = time.monotonic() - start
    world.note("frozen network told after", f"{seconds:.1f} s")
    assert seconds <= 26, seconds
    site.network.thaw()
    site.report(session, "transcribing", 42)
    browser.read("transcribing", 60)
    browser.read("live · \\d", 60)


def dead_player(world):
    """The connection of the player is lost, and the access token expires meanwhile: the player comes back, plays, and is where it was."""
    site = world.server(JWT_ACCESS_TTL="4")
    therapist, patient = site.pair()
    # A quarter of an hour, of which no browser has the end before it plays it.
    session = site.processed(site.session(patient, "long.wav", size=30_000_000))
    site.network.pace = 400_000
    browser = enter(world.browser(site), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    browser.until("the recording is there", lambda: browser.run("return document.querySelector('audio').readyState") >= 1)
    browser.click("button", "^play$")
    browser.until("it plays", lambda: browser.run("return document.querySelector('audio').currentTime") > 0.2)
    site.network.pace = None
    site.network.lose()
    browser.read("connection lost")
    browser.see("field", "^position$").fill("700")
    browser.until("the player is dead or waits", lambda: browser.run("""
        const audio = document.querySelector("audio");
        return audio.error !== null || audio.readyState < 3"""))
    site.network.restore()
    browser.until("it plays where it was", lambda: 699 <= browser.run("""
        const audio = document.querySelector("audio");
        return audio.paused || audio.readyState < 3 ? 0 : audio.currentTime"""), 60)
    position = browser.run("return document.querySelector('audio').currentTime")
    browser.until("time passes", lambda: browser.run("return document.querySelector('audio').currentTime") > position + 0.3, 20)


def revoked(world):
    """The assignment ends while the therapist reads the session: it disappears at once, also from the list."""
    site = world.site
    therapist, patient = site.pair()
    session = site.processed(site.session(patient))
    site.session(patient, "second.ogg")
    browser = enter(world.browser(), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    site.assign(therapist, patient, "DELETE")
    browser.read("you can no longer see it|deleted")
    browser.unread("The stairs")
    browser.unread(re.escape(patient.name))
    browser.open("/#/")
    browser.read("no sessions yet")


def ended_sign_in(world):
    """An administrator ends the sign-in: the page shows the form, and nothing of the patient in title and text."""
    site = world.site
    therapist, patient = site.pair()
    session = site.processed(site.session(patient))
    browser = enter(world.browser(), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    call(site.url, "DELETE", f"/api/users/{therapist.id}/sign-ins", site.admin)
    browser.see("button", "^sign in$", seconds=30)
    browser.unread(re.escape(patient.name))
    assert patient.name not in browser.title, browser.title


def deactivated(world):
    """The account is deactivated: what is shown, the title and the address are cleared, and the form says why."""
    site = world.site
    therapist, patient = site.pair()
    session = site.processed(site.session(patient))
    browser = enter(world.browser(), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    site.change(therapist, is_active=False)
    browser.read("deactivated", 30)
    browser.see("button", "^sign in$")
    browser.unread(re.escape(patient.name))
    assert session not in browser.address and patient.name not in browser.title, (browser.address, browser.title)


def expired(world):
    """The sign-in reaches its age: the form comes, and after the next sign-in the same session is there again."""
    therapist, patient = world.site.pair()
    session = world.site.processed(world.site.session(patient))
    short = world.server(SIGN_IN_MAX_AGE="12", JWT_ACCESS_TTL="4")
    browser = enter(world.browser(short), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    browser.see("button", "^sign in$", seconds=40)
    browser.read("your sign-in has ended")
    browser.unread(re.escape(patient.name))
    fill_in(browser, therapist)
    browser.see("heading", re.escape(patient.name))


def two_tabs_refreshing(world):
    """Two tabs share a sign-in whose access token lasts 3 s. Both stay signed in through several refreshes, and both are live."""
    site = world.site
    therapist, patient = site.pair()
    session = site.session(patient)
    browser = enter(world.browser(world.server(JWT_ACCESS_TTL="3")), therapist)
    first = browser.tab
    second = browser.new_tab()
    browser.see("heading", "^sessions$")
    deadline = time.monotonic() + 12
    turns = 0
    while time.monotonic() < deadline:
        for handle in (first, second):
            browser.switch(handle)
            browser.reload()
            browser.see("heading", "^sessions$")
            browser.read("in progress \\(1\\)")
            turns += 1
    site.report(session, "transcribing", 42)
    for handle in (first, second):
        browser.switch(handle)
        browser.read("transcribing")
    sign_ins = site.get(f"/api/users/{therapist.id}/sign-ins")["items"]
    assert len(sign_ins) == 1, sign_ins
    world.note("reloads with a token of 3 s", turns)


def twelve_tabs(world):
    """Twelve tabs of one browser show the same change, and the server has one stream for all of them."""
    site = world.server()
    therapist, patient = site.pair()
    session = site.session(patient)
    browser = enter(world.browser(site), therapist)
    handles = [browser.tab]
    for _ in range(11):
        handles.append(browser.new_tab())
        browser.read("in progress \\(1\\)", 30)
    site.report(session, "transcribing", 42)
    for handle in handles:
        browser.switch(handle)
        browser.read("transcribing")
        browser.read("live · \\d")
    streams = streams_open(site)
    world.note("streams of twelve tabs", streams)
    assert streams == 1, streams
    # The tab that leads goes away: another one takes its place.
    browser.switch(handles[0])
    browser.close_tab()
    browser.switch(handles[5])
    site.report(session, "transcribing", 61)
    browser.until("the next tab leads", lambda: any(each.property("value") == 61 for each in browser.all("progressbar")), 30)


def streams_open(site):
    request = urllib.request.Request(site.url + "/metrics")
    request.add_header("Authorization", "Bearer " + site.admin)
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    return int(sum(float(value) for value in re.findall(r'^therapybridge_streams_open\{transport="sse"\} (\S+)', text, re.MULTILINE)))
