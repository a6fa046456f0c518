"""An administrator's day."""
import re

from journeys_basic import EMAIL, SECRET, enter
from world import PASSWORD, sign_in


def people(world):
    """An administrator adds a therapist with a first password, finds, deactivates and activates the account, and ends its sign-ins."""
    site = world.site
    admin = site.person("admin")
    browser = enter(world.browser(), admin, heading="^sessions$")
    browser.click("link", "^people$")
    browser.see("heading", "^people$")
    browser.click("button", "^add a person$")
    dialog = browser.see("dialog")
    name, email = f"Vera Lindqvist {admin.id[:4]}", f"vera.{admin.id[:8]}@journeys.test"
    browser.fill("^name$", name, dialog)
    browser.fill("^email$", email, dialog)
    browser.see("combobox", "^role$", dialog).choose("Therapist")
    browser.click("button", "^make one up$", dialog)
    secret = browser.see("field", "^first password", dialog).property("value")
    assert re.fullmatch("[a-z2-9]{4}(-[a-z2-9]{4}){3}", secret), secret
    browser.click("button", "^add$", dialog)
    browser.see("heading", re.escape(name))
    assert sign_in(site.url, email, secret)
    browser.reload()
    browser.read("last used")
    browser.click("button", "^end all sign-ins$")
    browser.click("button", "^end all sign-ins$", browser.see("dialog"))
    browser.read("nobody is signed in")
    browser.click("button", "^deactivate$")
    browser.click("button", "^deactivate$", browser.see("dialog"))
    browser.read("deactivated")
    browser.click("link", "people$", browser.see("main"))
    browser.see("heading", "^people$")
    browser.fill("name or email", email)
    browser.until("one person is found", lambda: len(browser.all("row")) == 2)
    browser.click("link", re.escape(name))
    browser.click("button", "^activate$")
    browser.see("button", "^deactivate$")
    browser.fill("^name$", name + " Berg")
    browser.click("button", "^save$")
    browser.see("heading", re.escape(name) + " Berg")


def new_password(world):
    """An administrator sets a new password: the therapist is signed out at once, and only the new password works."""
    site = world.site
    admin, therapist = site.person("admin"), site.person("therapist")
    watcher = enter(world.browser(), therapist, heading="^sessions$")
    watcher.read("live · \\d")
    browser = enter(world.browser(), admin, f"/#/people?person={therapist.id}", re.escape(therapist.name))
    browser.click("button", "^set a new password$")
    dialog = browser.see("dialog")
    browser.click("button", "^set a new password$", dialog)
    browser.read("enter a password, or make one up")
    browser.fill("^new password$", "password1", dialog)
    browser.click("button", "^set a new password$", dialog)
    browser.read("too easy to guess")
    browser.click("button", "^make one up$", dialog)
    secret = browser.see("field", "^new password$", dialog).property("value")
    browser.click("button", "^set a new password$", dialog)
    browser.gone("dialog")
    browser.read("the password is set")
    browser.read("nobody is signed in")
    watcher.see("button", "^sign in$", seconds=30)
    watcher.type(EMAIL, therapist.email)
    watcher.type(SECRET, PASSWORD)
    watcher.press("Enter")
    watcher.read("password is wrong")
    watcher.type(SECRET, secret)
    watcher.press("Enter")
    watcher.see("heading", "^sessions$")


def assignments(world):
    """An administrator assigns a patient to a therapist by the keyboard, and ends the assignment. The therapist's list follows at once."""
    site = world.site
    admin, therapist, patient = site.person("admin"), site.person("therapist"), site.person("patient")
    site.session(patient)
    watcher = enter(world.browser(), therapist, heading="^sessions$")
    watcher.read("no sessions yet")
    browser = enter(world.browser(), admin, heading="^sessions$")
    browser.click("link", "^assignments$")
    chosen = "patients of " + re.escape(therapist.name)
    browser.click("combobox", "^therapist$")
    browser.see("option")
    # Faster than the search: this chooses whom the text describes, or nobody.
    browser.write(therapist.email)
    browser.press("Down", "Enter")
    browser.until("the therapist is chosen, or offered", lambda: browser.all("heading", chosen) or browser.all("option", re.escape(therapist.name)))
    if not browser.all("heading", chosen):
        browser.press("Down", "Enter")
    browser.see("heading", chosen)
    browser.click("combobox", "^assign a patient$")
    browser.write(patient.email)
    browser.see("option", re.escape(patient.name))
    browser.press("Down", "Enter")
    browser.read("is assigned")
    watcher.read(re.escape(patient.name), 20)
    browser.click("button", "^end the assignment of " + re.escape(patient.name))
    browser.click("button", "^end$", browser.see("dialog"))
    browser.see("button", "^assign .* again$")
    watcher.unread(re.escape(patient.name), 20)


def audit(world):
    """An administrator sees who read a session, filters the log by person and action, and pages to older records."""
    site = world.site
    admin = site.person("admin")
    therapist, patient = site.pair()
    session = site.processed(site.session(patient))
    token = therapist.token
    for _ in range(3):
        site.get(f"/api/sessions/{session}", token)
        site.get(f"/api/sessions/{session}/transcript", token)
    browser = enter(world.browser(), admin, "/#/audit", "^audit log$")
    browser.see("table")
    browser.click("combobox", "^records of a person$")
    browser.write(therapist.email)
    browser.see("option", re.escape(therapist.name))
    browser.press("Down", "Enter")
    browser.until("the filter is in the address", lambda: f"user={therapist.id}" in browser.address)
    browser.read("Transcript: read")
    browser.see("combobox", "^all actions$").choose("Transcript: read")
    browser.until("only reads of transcripts", lambda: not re.search("Session: read", browser.see("table").text)
                  and re.search("Transcript: read", browser.see("table").text))
    browser.see("link", re.escape(patient.name))
    browser.click("button", "remove the filter")
    browser.until("the filter is gone", lambda: "user=" not in browser.address)
    browser.open("/#/audit")
    browser.reload()
    browser.see("table")
    rows = len(browser.all("row"))
    browser.click("button", "^show older records$")
    browser.until("more records", lambda: len(browser.all("row")) > rows)


def board(world):
    """The live board shows streams, latencies, the listener, the queue and failures, and renews itself."""
    site = world.site
    admin = site.person("admin")
    _, patient = site.pair()
    session = site.session(patient)
    browser = enter(world.browser(), admin, "/#/board", "^live board$")
    browser.read("open streams")
    browser.read("notifications")
    browser.read("answers within")
    figure = "return document.querySelector('[data-figure=failed] strong').textContent"
    before = int(browser.run(figure).replace(",", ""))
    site.fail(session, "The speech recogniser stopped unexpectedly.")
    browser.until("the board has the failure", lambda: int(browser.run(figure).replace(",", "")) == before + 1, 20)
    browser.read(re.escape(patient.name))
