"""Uploads: several files, a cut connection, a reload in the middle."""
import os
import random
import urllib.request

from journeys_basic import enter
from scene import FOLDER, wave


def file_of(name, size=40_000):
    path = os.path.join(FOLDER, name)
    with open(path, "wb") as file:
        file.write(wave(size))
    return path


def choose(browser, *paths):
    """Chooses files in the dialog of the upload."""
    dialog = browser.see("dialog")
    for path in paths:
        browser.see("file", None, dialog).type(path)
    return dialog


def sessions_of(site, patient):
    return site.get(f"/api/sessions?patient_id={patient.id}")["items"]


def upload(world):
    """A therapist uploads two files at once. Patient and date are guessed, a file of a wrong kind is refused before the first byte."""
    site = world.site
    therapist, patient = site.pair()
    other = site.person("patient", "Noor Valen")
    site.assign(therapist, other)
    tag = random.randrange(10_000)
    first, second = file_of(f"Quinn 2026-10-05 {tag}.wav"), file_of(f"valen_20261006_0930_{tag}.wav")
    wrong = os.path.join(FOLDER, f"letter {tag}.pdf")
    with open(wrong, "w") as file:
        file.write("%PDF-1.4")
    browser = enter(world.browser(), therapist)
    browser.click("button", "^(upload recordings|choose )")
    dialog = choose(browser, first, second, wrong)
    browser.read("this format cannot be read")
    browser.click("button", "^start upload$", dialog)
    browser.read("remove the files")
    browser.click("button", "^remove letter", dialog)
    dates = [each.property("value") for each in browser.all("field", "^date: ", dialog)]
    assert dates[0].startswith("2026-10-05") and dates[1] == "2026-10-06T09:30", dates
    browser.click("button", "^start upload$", dialog)
    browser.gone("dialog")
    browser.read("2 uploads finished", 40)
    browser.read("in progress \\(2\\)")
    assert [each["filename"] for each in sessions_of(site, patient)] == [os.path.basename(first)]
    assert [each["session_date"][:10] for each in sessions_of(site, other)] == ["2026-10-06"]


def drop(world):
    """A recording is dropped on the page, in any view: the dialog has it, with its patient and the date of its name."""
    site = world.site
    therapist, patient = site.pair()
    browser = enter(world.browser(), therapist)
    browser.open("/#/account")
    browser.see("heading", "^your account$")
    # No driver drops files from outside. This is what the page gets.
    browser.run("""
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([new Uint8Array(1000)], "Quinn 22.11.2026.wav", { type: "audio/wav" }));
        for (const type of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
        }""")
    dialog = browser.see("dialog")
    date = browser.see("field", "^date: quinn", dialog)
    assert date.property("value").startswith("2026-11-22"), date.property("value")
    browser.click("button", "^start upload$", dialog)
    browser.gone("dialog")
    # A thousand zeros are no recording.
    browser.read("1 upload failed", 40)
    browser.click("button", "1 upload failed")
    browser.click("button", "^(remove|dismiss).*quinn")
    browser.unread("1 upload failed")
    assert not [each for each in sessions_of(site, patient) if each["progress"]["status"] == "processed"]


def cut_and_resume(world):
    """The network is lost in the middle of an upload. It goes on by itself, and the recording is whole."""
    site = world.server()
    therapist, patient = site.pair()
    path = file_of(f"long {random.randrange(10_000)}.wav", 12_000_000)
    browser = enter(world.browser(site), therapist)
    browser.click("button", "^(upload recordings|choose )")
    dialog = choose(browser, path)
    site.network.pace = 3_000_000
    browser.click("button", "^start upload$", dialog)
    browser.until("a part has arrived", lambda: site.network.carried > 3_000_000, 30)
    site.network.lose()
    browser.read("waiting for the network|connection lost|offline", 30)
    site.network.restore()
    browser.read("1 upload finished", 60)
    check(site, patient, path)


def reload(world):
    """The page is reloaded in the middle of an upload. The upload goes on where it was."""
    site = world.server()
    therapist, patient = site.pair()
    path = file_of(f"reload {random.randrange(10_000)}.wav", 12_000_000)
    browser = enter(world.browser(site), therapist)
    browser.click("button", "^(upload recordings|choose )")
    dialog = choose(browser, path)
    site.network.pace = 2_000_000
    browser.click("button", "^start upload$", dialog)
    browser.until("a part has arrived", lambda: site.network.carried > 4_000_000, 30)
    try:
        browser.reload()
        browser.accept_question()
    except Exception:  # Some engines ask whether to leave, and some do not.
        pass
    site.network.pace = None
    browser.read("1 upload finished", 60)
    check(site, patient, path)


def check(site, patient, path):
    """The server has the recording, byte by byte."""
    (session,) = sessions_of(site, patient)
    request = urllib.request.Request(f"{site.url}/api/sessions/{session['id']}/recording")
    request.add_header("Authorization", "Bearer " + site.admin)
    with urllib.request.urlopen(request, timeout=60) as answer, open(path, "rb") as file:
        assert answer.read() == file.read(), "the recording is not what was uploaded"
