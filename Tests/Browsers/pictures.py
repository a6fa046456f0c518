"""The pictures of the README: the list of a busy therapist, and a finished session."""
import datetime
import os
import re
import uuid

from journeys_basic import enter
from world import Person

NOW = datetime.datetime.now(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0)
TALK = [
    (0.0, 8.0, "Therapist", "How was the week?"),
    (8.0, 17.5, "Anna", "Better than the last one, I think. I slept through four nights."),
    (17.5, 24.0, "Therapist", "Four nights. What was different?"),
    (24.0, 38.0, "Anna", "I wrote things down before I went to bed. And I called my sister on Tuesday, which I had put off for so long."),
    (38.0, 47.5, "Therapist", "How did the call go?"),
    (47.5, 61.0, "Anna", "Better than I had expected. She was glad. We spoke for almost an hour."),
]
NOTES = {
    "summary": "Anna slept through four nights and has begun to keep a diary in the evening. "
               "The phone call with her sister went better than she had expected.",
    "key_topics": ["Sleep", "The diary", "Her sister"], "homework": "Write down three good moments each day.",
}
# The journeys have no worker: these are the times that a recording of a minute takes, in seconds before its end.
STAGES = {"uploading": 46, "pending": 43, "preprocessing": 41, "transcribing": 41, "transcribed": 12, "extracting_notes": 12, "processed": 0}


def at(days=0, hour=9, minute=0):
    moment = NOW.replace(hour=hour, minute=minute) - datetime.timedelta(days=days)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def clinic(site):
    """A therapist with patients, of whom some have sessions in progress. Returns the therapist, and a session that is finished."""
    def person(role, name):
        return Person(site, role, name, f"{name.split()[-1].lower()}.{uuid.uuid4().hex[:4]}@journeys.test")

    therapist = person("therapist", "Dr. Thea Brandt")
    anna, jonas, miriam, lena = (person("patient", name) for name in ("Anna Berger", "Jonas Keller", "Miriam Öztürk", "Lena Fischer"))
    for patient in (anna, jonas, miriam, lena):
        site.assign(therapist, patient)

    def session(patient, days, hour, minute=0, name=None):
        moment = at(days, hour, minute)
        name = name or f"{moment[:10]} {hour:02}{minute:02} {patient.name}.ogg"
        return site.session(patient, name, date=moment)

    def finish(patient, *when):
        done = session(patient, *when)
        work = site.claim(done)
        work.report("preprocessing", 20)
        work.report("transcribing", 45)
        work.transcript(TALK)
        work.report("transcribed", 60)
        work.report("extracting_notes", 90)
        work.notes(NOTES)
        work.report("processed", 100)
        return done

    for when in ((jonas, 12, 11, 30), (miriam, 11, 14), (lena, 9, 10), (anna, 10, 10, 15), (jonas, 5, 11, 30), (miriam, 4, 14)):
        finish(*when)
    shown = finish(anna, 3, 10, 15)
    site.fail(session(jonas, 1, 8, 30), "No speech was found in the recording.")
    noting = site.claim(session(anna, 0, 6, 30))
    noting.report("transcribing", 45)
    noting.transcript(TALK)
    noting.report("transcribed", 60)
    noting.report("extracting_notes", 82, message="Writing notes from the transcript", estimated_time_remaining=40)
    transcribing = site.claim(session(jonas, 0, 7, 30))
    transcribing.report("transcribing", 44, message="Turning speech into text", estimated_time_remaining=260)
    transcribing.transcript(TALK[:2], is_final=False)
    site.claim(session(miriam, 0, 8)).report("preprocessing", 20, message="Preparing the audio", estimated_time_remaining=540)
    session(lena, 0, 9)
    return therapist, shown


def front_page(world):
    """The two pictures of the README: the list of a busy therapist, and a finished session with its notes and transcript."""
    site = world.site
    therapist, shown = clinic(site)
    when = "CASE status " + " ".join(f"WHEN '{status}' THEN {seconds}" for status, seconds in STAGES.items()) + " ELSE 0 END"
    site.sql(f"""
        SET session_replication_role = replica;
        UPDATE app.session_events SET at = now() - make_interval(mins => 3, secs => {when}) WHERE session_id = '{shown}'""", user="postgres")
    browser = world.browser(height=1000, has_scrollbars=False)
    enter(browser, therapist)
    browser.read("in progress \\(4\\)")
    browser.read("needs you \\(1\\)")
    browser.until("the table", lambda: len(browser.all("row")) == 8)
    browser.read("live · \\d")
    picture(world, browser, "sessions")
    browser.open(f"/#/sessions/{shown}")
    browser.see("heading", "^Anna Berger$")
    browser.read("slept through four nights and")
    browser.read("Better than the last one")
    browser.until("the recording is there", lambda: browser.run("return document.querySelector('audio').readyState") >= 1)
    browser.read("29 s")
    picture(world, browser, "session")


def picture(world, browser, name):
    """Takes a picture without a mark of the focus."""
    browser.run("document.activeElement?.blur()")
    browser.run_async("const done = arguments[arguments.length - 1]; requestAnimationFrame(() => requestAnimationFrame(() => done()))")
    browser.screenshot(os.path.join(world.images, f"{name}.png"))
