"""How the page looks and is used: narrow, dark, large, still, by the keyboard, and in three languages."""
import importlib.resources
import importlib.util
import re

from journeys_basic import EMAIL, SECRET, enter
from journeys_upload import file_of
from world import PASSWORD

# Things that reach beyond the page, or that are cut off where they end: their words.
CLIPPED = """
const width = document.documentElement.clientWidth;
const found = [];
if (document.documentElement.scrollWidth > width) found.push(`the page is ${document.documentElement.scrollWidth} wide, not ${width}`);
for (const element of document.querySelectorAll("button, a[href], input, select, textarea, h1, h2, h3, p, td, th, dt, dd, label, li, strong, span")) {
    if (!element.checkVisibility({ visibilityProperty: true }) || element.closest("[aria-hidden=true], .visually-hidden, .skip")) continue;
    const style = getComputedStyle(element);
    if (style.clipPath !== "none") continue;
    const box = element.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1) continue;
    let left = 0;
    let right = width;
    for (let outer = element.parentElement; outer; outer = outer.parentElement) {
        const overflow = getComputedStyle(outer).overflowX;
        // What scrolls, can be reached.
        if (overflow === "auto" || overflow === "scroll") { left = -Infinity; right = Infinity; break; }
        if (getComputedStyle(outer).clipPath !== "none") { left = -Infinity; right = Infinity; break; }
        if (overflow === "hidden" || overflow === "clip") {
            const frame = outer.getBoundingClientRect();
            left = Math.max(left, frame.left);
            right = Math.min(right, frame.right);
        }
    }
    const words = (element.innerText || element.value || element.ariaLabel || element.id || "").trim().slice(0, 40);
    if (box.left < left - 1 || box.right > right + 1) found.push(`${element.tagName} “${words}” is cut off`);
    const isCut = element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0 && !element.matches("input, textarea, select, span, strong");
    if (isCut && style.overflowX !== "visible" && style.textOverflow !== "ellipsis" && style.overflowX !== "auto") found.push(`${element.tagName} “${words}” is too narrow`);
}
return [...new Set(found)].slice(0, 12);
"""

AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then(
    ({ violations }) => done(violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.slice(0, 3).map(({ target, failureSummary }) =>
        `${target.join(" ")} ${failureSummary.split("\\\\n").slice(1, 2).join(" ")}`).join(" | ")}`)),
    (error) => done([String(error)]));
"""


def axe_source():
    """The script of axe-core, or None without its package."""
    if importlib.util.find_spec("axe_playwright_python") is None:
        return None
    return importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()


def check(browser, view, problems, with_axe=False):
    """Looks at the present view, and adds what is wrong."""
    problems += [f"{view}: {each}" for each in browser.run(CLIPPED) + browser.run(ALIKE)]
    if not with_axe or not axe_source():
        return
    if not browser.run("return Boolean(globalThis.axe)"):
        browser.run(axe_source())
    problems += [f"{view}: {each}" for each in browser.run_async(AXE)]


# Buttons of one view that a screen reader cannot tell apart: their names.
ALIKE = """
const names = new Map();
// Behind a dialog, nothing can be reached.
for (const button of (document.querySelector("dialog[open]") ?? document).querySelectorAll("button")) {
    if (!button.checkVisibility({ visibilityProperty: true }) || button.disabled) continue;
    const name = (button.getAttribute("aria-label") ?? button.innerText).replace(/\\s+/g, " ").trim();
    names.set(name, (names.get(name) ?? 0) + 1);
}
return [...names].filter(([, count]) => count > 1).map(([name, count]) => `${count} buttons have the name “${name}”`);
"""


def scene(site, role):
    """A person with sessions in every state, and the addresses of the views."""
    if role == "newcomer":
        return site.person("therapist"), {"sessions": "/#/", "patients": "/#/patients", "uploads": "/#/uploads"}
    therapist, patient = site.pair()
    other = site.person("patient", "Maximiliane Freifrau von und zu Hohenstein-Wartenburg")
    site.assign(therapist, other)
    running = site.session(other, "a recording with a rather long name that somebody has typed, 2026-11-22.wav")
    site.claim(running).report("transcribing", 40, estimated_time_remaining=240)
    failed = site.session(patient, "broken.wav")
    site.fail(failed, "The recording could not be read as audio.")
    done = site.processed(site.session(patient, date="2026-10-01T10:00:00Z"))
    site.session(patient, "waiting.wav")
    views = {"sessions": "/#/", "search": "/#/?q=zzzz", "session done": f"/#/sessions/{done}", "session failed": f"/#/sessions/{failed}",
             "session running": f"/#/sessions/{running}", "uploads": "/#/uploads", "account": "/#/account"}
    if role == "patient":
        del views["session running"]
        return patient, views
    views |= {"patients": "/#/patients", "patient": f"/#/patients/{patient.id}"}
    if role == "therapist":
        return therapist, views
    views |= {"people": "/#/people", "person": f"/#/people?person={therapist.id}", "assignments": f"/#/assignments?therapist={therapist.id}",
              "audit": "/#/audit", "board": "/#/board"}
    return site.person("admin"), views


def settle(browser):
    """Waits until the view is there, and its reads have ended."""
    browser.see("heading")
    browser.until("the view is loaded", lambda: browser.run(
        "return !Array.from(document.querySelectorAll('.skeleton')).some((each) => each.checkVisibility())"))
    browser.run_async("const done = arguments[arguments.length - 1]; setTimeout(done, 400)")


def visit(browser, views, problems, with_axe, pictures=None):
    for name, path in views.items():
        browser.open(path)
        settle(browser)
        if pictures:
            pictures(name)
        check(browser, name, problems, with_axe)


def dialogs(browser, person, views, problems, with_axe, pictures):
    """What opens over the views: the menu of the account, and dialogs, that of the upload with a file whose name is long."""
    def look_at(name):
        pictures(name)
        check(browser, name, problems, with_axe)
        browser.press("Escape")

    browser.open("/#/")
    settle(browser)
    browser.click("button", re.escape(person.name))
    browser.see("button", "^sign out$")
    look_at("menu")
    if browser.all("button", "^more$"):
        browser.click("button", "^more$")
        browser.see("link", "^audit log$")
        look_at("more")
        browser.gone("link", "^audit log$")
    browser.click("button", "^(upload recordings|choose )")
    dialog = browser.see("dialog")
    browser.see("file", None, dialog).type(file_of("a recording with a rather long name that somebody has typed once.wav"))
    browser.see("field", "^date: ", dialog)
    look_at("upload")
    browser.gone("dialog")
    for view, opener in (("session done", "^delete$"), ("session done", "^correct date or language$"), ("people", "^add a person$")):
        if view not in views or person.role == "patient":
            continue
        browser.open(views[view])
        settle(browser)
        browser.click("button", opener)
        browser.see("dialog")
        look_at(re.sub(r"\W", " ", opener).strip())
        browser.gone("dialog")


def look(role, with_axe=True, **setup):
    """A journey through each view of a role."""
    def steps(world):
        person, views = scene(world.site, role)
        browser = world.browser(**setup)
        problems = []
        browser.open()
        browser.see("button", "^sign in$")
        check(browser, "sign in", problems, with_axe)
        enter(browser, person)
        if setup.get("is_dark"):
            assert browser.run("return matchMedia('(prefers-color-scheme: dark)').matches"), "the engine is not dark"
            colour = browser.run("return getComputedStyle(document.body).backgroundColor")
            assert max(int(each) for each in re.findall(r"\d+", colour)[:3]) < 80, colour
        if setup.get("has_reduced_motion"):
            assert browser.run("return matchMedia('(prefers-reduced-motion: reduce)').matches"), "motion is not reduced"
        pictures = world.pictures(browser, f"{role}-" + "-".join(f"{name}-{value}" for name, value in setup.items()))
        visit(browser, views, problems, with_axe, pictures)
        if role != "newcomer":
            dialogs(browser, person, views, problems, with_axe, pictures)
        if setup.get("has_reduced_motion"):
            browser.open("/#/")
            settle(browser)
            moving = browser.run("return document.getAnimations().filter((each) => each.playState === 'running').length")
            assert moving == 0, f"{moving} animations"
        world.note("views", len(views) + 2)
        assert not problems, "; ".join(problems)
    return steps


def keyboard(world):
    """Without a mouse: sign in, open and leave the dialog of the upload, open a session, play the recording and jump in it, sign out."""
    site = world.site
    therapist, patient = site.pair()
    session = site.processed(site.session(patient))
    browser = world.browser().open()
    browser.see("button", "^sign in$")
    if not re.search(EMAIL, browser.focused(), re.IGNORECASE):
        browser.tab_to(EMAIL)
    browser.write(therapist.email)
    browser.tab_to(SECRET)
    browser.write(PASSWORD)
    browser.press("Enter")
    browser.see("heading", "^sessions$")
    browser.tab_to("^upload recordings$")
    browser.press("Enter")
    dialog = browser.see("dialog")
    assert browser.run("return arguments[0].contains(document.activeElement)", dialog), "the focus is not in the dialog"
    for _ in range(25):
        browser.press("Tab")
        inside = browser.run("return arguments[0].contains(document.activeElement) || document.activeElement === document.body", dialog)
        assert inside, f"the focus leaves the dialog: {browser.focused()}"
    browser.press("Escape")
    browser.gone("dialog")
    browser.until("the focus is back", lambda: re.search("upload recordings", browser.focused(), re.IGNORECASE))
    browser.tab_to(re.escape(patient.name))
    browser.press("Enter")
    browser.see("heading", re.escape(patient.name))
    assert session in browser.address
    browser.read("The stairs")
    browser.tab_to("^play$")
    browser.press("Enter")
    browser.until("it plays", lambda: browser.run("return !document.querySelector('audio').paused"))
    browser.press("Enter")
    browser.until("it pauses", lambda: browser.run("return document.querySelector('audio').paused"))
    before = browser.run("return document.querySelector('audio').currentTime")
    browser.press("l")
    browser.until("it jumps forward", lambda: browser.run("return document.querySelector('audio').currentTime") >= before + 14)
    browser.press("j")
    browser.until("it jumps back", lambda: browser.run("return document.querySelector('audio').currentTime") < before + 2)
    hidden = browser.run("""
        const { outlineStyle, boxShadow } = getComputedStyle(document.activeElement);
        return outlineStyle === "none" && boxShadow === "none";""")
    assert not hidden, "the focus cannot be seen"
    browser.open("/#/")
    browser.see("heading", "^sessions$")
    browser.tab_to(re.escape(therapist.name))
    browser.press("Enter")
    browser.see("button", "^sign out$")
    browser.tab_to("^sign out$")
    browser.press("Enter")
    browser.see("button", "^sign in$")


def language(tag, words):
    """A journey through each view in another language."""
    def steps(world):
        person, views = scene(world.site, "admin")
        browser = world.browser(language=tag).open()
        browser.see("button", words["sign in"])
        assert browser.run("return document.documentElement.lang") == tag[:2]
        enter(browser, person, heading=words["sessions"])
        problems = []
        for name, path in views.items():
            browser.open(path)
            settle(browser)
            shown = browser.words()
            # A key without words stands for itself.
            problems += [f"{name}: {key}" for key in re.findall(r"(?<![\w@./-])[a-z]+(?:-[a-z]+)*\.[a-z-]+(?:\.[a-z-]+)*(?![\w./@-])", shown)
                         if not re.search(r"\.(wav|ogg|test|mp3|js)$", key)]
            problems += [f"{name}: “{each}” is English" for each in
                         re.findall(r"\b(Sign out|Sessions and|Search|Uploads are|Needs you|In progress|Live board|Older|Waiting for|Show more)\b", shown)]
            problems += [f"{name}: {each}" for each in browser.run(CLIPPED)]
        assert not problems, "; ".join(problems)
    return steps


german = language("de-DE", {"sign in": "^anmelden$", "sessions": "^sitzungen$"})
french = language("fr-FR", {"sign in": "^se connecter$", "sessions": "^séances$"})
