"""Signing in, finding a session, following it to its end, and working with it."""
import re
import urllib.error

from scene import call, wait_for
from world import PASSWORD, WORDS

EMAIL, SECRET = "e-?mail", "^(password|passwort|mot de passe)"


def enter(browser, person, path="/", heading=None):
    """Opens the page and signs in."""
    browser.open(path)
    fill_in(browser, person)
    browser.see("heading", heading) if heading else browser.see("navigation")
    return browser


def fill_in(browser, person):
    browser.type(EMAIL, person.email)
    browser.type(SECRET, PASSWORD)
    browser.press("Enter")


def open_session(browser, session):
    browser.open(f"/#/sessions/{session}")
    return browser


def sign_out(browser, person):
    browser.click("button", re.escape(person.name))
    browser.click("button", "^sign out$")


def sign_in(world):
    """A therapist signs in after a wrong password, reloads the page, and signs out. Nothing of the account stays."""
    therapist, _ = world.site.pair()
    browser = world.browser().open()
    browser.see("button", "^sign in$")
    browser.press("Tab", "Tab")
    browser.type(EMAIL, therapist.email)
    browser.type(SECRET, "not my password")
    browser.press("Enter")
    browser.read("password is wrong")
    browser.type(SECRET, PASSWORD)
    browser.press("Enter")
    browser.see("heading", "^sessions$")
    browser.read("no sessions yet")
    browser.reload()
    browser.see("heading", "^sessions$")
    sign_out(browser, therapist)
    browser.see("button", "^sign in$")
    browser.read("you have signed out")
    browser.unread(re.escape(therapist.name))
    browser.reload()
    browser.see("button", "^sign in$")


def find(world):
    """A therapist searches for a patient, filters by state, opens a session, and comes back to the same question and place."""
    site = world.site
    therapist, first = site.pair()
    second = site.person("patient", "Björk Ólafsdóttir")
    site.assign(therapist, second)
    done = site.processed(site.session(first, "harbour.ogg", date="2026-10-02T09:00:00Z"))
    site.processed(site.session(second, "garden.ogg", date="2026-09-01T09:00:00Z"))
    site.fail(site.session(first, "broken.wav"))
    browser = enter(world.browser(height=480), therapist)
    browser.read("needs you \\(1\\)")
    browser.see("table")
    browser.until("two finished sessions", lambda: len(browser.all("row")) == 3)
    field = browser.see("textbox", "search")
    field.click()
    browser.write("björk")
    browser.until("the address has the search", lambda: "q=bj" in browser.address)
    browser.until("one session", lambda: len(browser.all("row")) == 2)
    browser.read("Björk")
    field.fill("")
    browser.until("the search is over", lambda: "q=" not in browser.address)
    browser.click("button", "^needs you 1$")
    browser.see("link", re.escape(first.name))
    browser.click("button", "^finished 2$")
    browser.until("two sessions", lambda: len(browser.all("row")) == 3)
    browser.fill("from", "2026-09-15")
    browser.until("one session in the period", lambda: len(browser.all("row")) == 2)
    browser.see("link", re.escape(first.name), browser.see("table")).click()
    browser.see("heading", re.escape(first.name))
    assert done in browser.address
    browser.back()
    browser.until("the same question again", lambda: len(browser.all("row")) == 2 and "from=2026-09-15" in browser.address)
    browser.click("button", "clear all")
    browser.until("all finished sessions", lambda: len(browser.all("row")) == 3)
    place = browser.until("the list is scrolled", lambda: browser.run("scrollTo(0, 9999); return scrollY"))
    browser.run("arguments[0].click()", browser.see("link", re.escape(second.name), browser.see("table")))
    browser.see("heading", re.escape(second.name))
    browser.until("a session begins at its top", lambda: browser.run("return scrollY") == 0)
    browser.back()
    browser.until("the same place", lambda: browser.run("return scrollY") == place)


def live_to_the_end(world):
    """A therapist watches a session from the queue to its notes. The transcript grows while it is made."""
    site = world.site
    therapist, patient = site.pair()
    session = site.session(patient)
    browser = enter(world.browser(), therapist)
    browser.read("in progress \\(1\\)")
    browser.read("live · \\d")
    browser.until("the count in the title", lambda: browser.title.startswith("(1)"))
    work = site.claim(session)
    work.report("transcribing", 30, estimated_time_remaining=120)
    browser.read("transcribing")
    bar = browser.see("progressbar", re.escape(patient.name))
    browser.until("the bar moves", lambda: bar.property("value") == 30)
    browser.click("link", re.escape(patient.name))
    browser.see("heading", re.escape(patient.name))
    work.transcript(WORDS[:1], is_final=False)
    browser.read("Last week we spoke")
    work.transcript(WORDS[:3], is_final=False)
    browser.read("What did you think about most")
    work.transcript()
    work.report("transcribed", 80)
    browser.read("The stairs")
    work.report("extracting_notes", 90)
    browser.read("writing notes")
    work.notes()
    work.report("processed", 100)
    browser.read("house of her childhood")
    browser.until("the title is quiet", lambda: not browser.title.startswith("("))


def transcript_and_player(world):
    """A therapist plays the recording from a passage, jumps, changes the speed, and the transcript follows. A link to a moment begins there."""
    site = world.site
    therapist, patient = site.pair()
    session = site.processed(site.session(patient))
    browser = enter(world.browser(), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    browser.read("Last week we spoke")
    position = "return document.querySelector('audio').currentTime"
    browser.until("the recording is there", lambda: browser.run("return document.querySelector('audio').readyState") >= 1)
    browser.click("link", "^0:09$")
    browser.until("it plays from the passage", lambda: 8.5 <= browser.run(position) < 14)
    browser.until("the passage is marked", lambda: "think about most" in (
        browser.run("return document.querySelector('[aria-current=true]')?.innerText") or ""))
    if "audio output" not in world.engine.lacks:
        browser.until("time passes", lambda: browser.run(position) > 9.8, 20)
    browser.click("button", "^back 15")
    browser.until("it jumps back", lambda: browser.run(position) < 5)
    browser.see("combobox", "speed").choose("1.5")
    assert browser.run("return document.querySelector('audio').playbackRate") == 1.5
    browser.open(f"/#/sessions/{session}?t=14")
    browser.reload()
    browser.read("The stairs")
    browser.until("the link begins at its moment", lambda: browser.run(position) >= 13.9)
    text = browser.run("""
        const range = document.createRange();
        range.selectNodeContents(document.querySelector("[data-part=transcript]"));
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        return String(getSelection())""")
    assert "Last week we spoke" in text and "How small they were" in text, text


def failure_and_retry(world):
    """A session fails, and the page says why and what to do. A retry begins the next attempt."""
    site = world.site
    therapist, patient = site.pair()
    session = site.session(patient)
    browser = enter(world.browser(), therapist)
    browser.read("in progress \\(1\\)")
    site.fail(session, "The speech recogniser stopped unexpectedly.")
    browser.read("needs you \\(1\\)")
    browser.read("recogniser stopped")
    browser.click("link", re.escape(patient.name))
    browser.read("processing stopped")
    browser.read("you do not need to upload")
    browser.read("reference")
    browser.click("button", "^retry$")
    browser.unread("processing stopped")
    browser.read("waiting for a free worker")
    browser.until("the next attempt", lambda: site.get(f"/api/sessions/{session}/status")["attempt"] == 2)


def correct(world):
    """A therapist corrects words, and sees the earlier version in the history."""
    site = world.site
    therapist, patient = site.pair()
    session = site.processed(site.session(patient))
    browser = enter(world.browser(), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    browser.click("button", "^correct the transcript$")
    field = browser.until("the passage is a field", lambda: browser.run(
        "return Array.from(document.querySelectorAll('textarea')).find((each) => each.value.startsWith('The stairs')) ?? null"))
    field.fill("The stairwell. How small it was, and how loud.")
    browser.click("button", "^save 1 change$")
    browser.read("The stairwell")
    browser.see("heading", "earlier versions")
    browser.click("button", "^show: transcript")
    earlier = browser.see("dialog")
    assert "The stairs. How small they were" in earlier.text, earlier.text
    browser.press("Escape")
    browser.gone("dialog")
    browser.reload()
    browser.read("The stairwell")
    text = site.get(f"/api/sessions/{session}/transcript")["text"]
    assert "stairwell" in text, text


# What the page gives the browser to save.
SAVED = """
window.saved = [];
const make = URL.createObjectURL;
URL.createObjectURL = (blob) => { blob.text().then((text) => window.saved.push(text)); return make.call(URL, blob); };
"""


def manage(world):
    """A therapist downloads a transcript, renames a speaker, corrects notes, date and language, has it transcribed again, and stops that."""
    site = world.site
    therapist, patient = site.pair()
    session = site.processed(site.session(patient))
    browser = enter(world.browser(), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    browser.run(SAVED)
    for name, beginning in (("text", ""), ("vtt", "WEBVTT"), ("srt", "1\n")):
        browser.click("button", f"^download as {name}$")
        browser.until(f"{name} is saved", lambda: any(each.startswith(beginning) and "The stairs" in each for each in browser.run("return window.saved")))
    browser.click("button", "^correct the transcript$")
    browser.see("field", "^name of patient$").fill("Ada")
    browser.click("button", "^save 2 changes$")
    browser.see("heading", "earlier versions")
    assert {each["speaker"] for each in site.get(f"/api/sessions/{session}/transcript")["segments"]} == {"Therapist", "Ada"}
    browser.click("button", "^correct the notes$")
    browser.see("field", "^summary$").fill("They spoke about the stairs.")
    browser.click("button", "^save$")
    browser.read("they spoke about the stairs")
    notes = site.get(f"/api/sessions/{session}/notes")
    assert list(notes) == ["summary", "themes", "risk"], notes
    browser.click("button", "^correct date or language$")
    dialog = browser.see("dialog")
    browser.fill("^date$", "2026-09-30T10:15", dialog)
    browser.fill("^language$", "de-AT", dialog)
    browser.click("checkbox", "^transcribe again", dialog)
    browser.click("button", "^save$", dialog)
    browser.gone("dialog")
    browser.read("austrian german")
    browser.read("30 September 2026")
    browser.read("waiting for a free worker")
    browser.read("they spoke about the stairs")
    browser.click("button", "^stop processing$")
    browser.click("button", "^stop processing$", browser.see("dialog"))
    browser.read("cancelled")
    status = site.get(f"/api/sessions/{session}/status")
    assert (status["status"], status["attempt"]) == ("failed", 2), status


def delete(world):
    """A therapist deletes a session after a question that names what goes."""
    site = world.site
    therapist, patient = site.pair()
    session = site.processed(site.session(patient, "harbour.ogg"))
    browser = enter(world.browser(), therapist, f"/#/sessions/{session}", re.escape(patient.name))
    browser.read("The stairs")
    browser.click("button", "^delete$")
    question = browser.see("dialog")
    assert "harbour.ogg" in question.text and "notes" in question.text, question.text
    browser.press("Escape")
    browser.gone("dialog")
    browser.click("button", "^delete$")
    browser.click("button", "^delete$", browser.see("dialog"))
    browser.see("heading", "^sessions$")
    browser.read("no sessions yet")
    wait_for("it is deleted", lambda: status_of(site, session) == 404)


def status_of(site, session):
    try:
        call(site.url, "GET", f"/api/sessions/{session}", site.admin)
        return 200
    except urllib.error.HTTPError as error:
        return error.code


def patient_view(world):
    """A patient sees their own sessions in plain words, who can see them, and no notes."""
    site = world.site
    therapist, person = site.pair()
    session = site.session(person)
    done = site.processed(site.session(person, "harbour.ogg"))
    browser = enter(world.browser(), person, heading="^your sessions$")
    browser.read("waiting its turn")
    site.claim(session).report("transcribing", 40, estimated_time_remaining=180)
    browser.read("being written down, about 3 min left|being written down, ready in about 3 min")
    browser.read("who can see this")
    browser.see("heading", "who can see this")
    browser.read(re.escape(therapist.name))
    assert not browser.all("link", "^(patients|people|audit log)$")
    browser.open(f"/#/sessions/{done}")
    browser.read("The stairs")
    browser.unread("house of her childhood")
    assert not browser.all("button", "^(delete|retry|correct)")
