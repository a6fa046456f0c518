"""What a journey can do with a browser: look for something by its role and name, click, type, and wait."""
import base64
import os
import re
import time

from wire import ELEMENT, WireError

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "accessible.js")) as file:
    ACCESSIBLE = file.read()

KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Space": " ", "Shift": "\ue008", "Control": "\ue009",
        "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015", "End": "\ue010", "Home": "\ue011"}
# The machine may be busy with other work.
SLOWNESS = float(os.environ.get("BROWSERS_SLOWNESS", "3"))


class Missing(AssertionError):
    """Something that a person had to see was not there."""


class Element:
    def __init__(self, browser, reference):
        self.browser, self.reference = browser, reference[ELEMENT]

    @property
    def argument(self):
        return {ELEMENT: self.reference}

    def click(self):
        """Clicks, as soon as nothing lies over the element."""
        self.browser.until("the element can be clicked", self.try_click)

    def try_click(self):
        """Clicks. Returns False if something lies over the element."""
        try:
            self.browser.wire.command("POST", "element/click", element=self.reference)
            return True
        except WireError as error:
            if error.code not in ("element click intercepted", "element not interactable"):
                raise
            # A driver scrolls only what is outside of the window. A person scrolls away from the bar of a phone, too.
            self.browser.run("arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })", self)
            # WebKitWebDriver takes the inside of a field for something over it.
            return self.is_on_top and self.browser.run("arguments[0].focus(); arguments[0].click(); return true", self)

    @property
    def is_on_top(self):
        """True if nothing lies over the middle of a field."""
        return self.browser.run("""
            const field = arguments[0];
            const { left, top, width, height } = field.getBoundingClientRect();
            return field.matches("input, select, textarea") && document.elementFromPoint(left + width / 2, top + height / 2) === field""", self)

    def type(self, text):
        self.browser.wire.command("POST", "element/value", {"text": text, "value": list(text)}, self.reference)

    def fill(self, text):
        """Replaces the value of a field. The browsers differ in how they type into fields of dates."""
        self.browser.run("""
            const [field, text] = arguments;
            field.focus();
            Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set.call(field, text);
            for (const name of ["input", "change"]) field.dispatchEvent(new Event(name, { bubbles: true }));""", self, text)

    def choose(self, text):
        """Chooses the option of a list that begins with a text."""
        self.browser.run("""
            const [list, text] = arguments;
            const option = Array.from(list.options).find((each) => each.textContent.trim().startsWith(text));
            if (!option) throw new Error(`no option ${text}: ${Array.from(list.options, (each) => each.textContent)}`);
            list.focus();
            list.value = option.value;
            for (const name of ["input", "change"]) list.dispatchEvent(new Event(name, { bubbles: true }));""", self, text)

    @property
    def text(self):
        return self.browser.run("return arguments[0].innerText", self) or ""

    def attribute(self, name):
        return self.browser.run("return arguments[0].getAttribute(arguments[1])", self, name)

    def property(self, name):
        return self.browser.run("return arguments[0][arguments[1]]", self, name)


class Browser:
    """One browser of one person. `url` is where this person reaches the server."""

    def __init__(self, engine, url):
        self.engine, self.wire, self.url = engine, engine.wire, url

    # Pages and tabs

    def open(self, path="/"):
        self.wire.command("POST", "url", {"url": self.url + path})
        return self

    def reload(self):
        self.wire.command("POST", "refresh")

    def back(self):
        self.wire.command("POST", "back")

    @property
    def address(self):
        return self.wire.command("GET", "url")

    @property
    def title(self):
        return self.run("return document.title")

    @property
    def tabs(self):
        return self.wire.command("GET", "window/handles")

    @property
    def tab(self):
        return self.wire.command("GET", "window")

    def new_tab(self, path="/"):
        answer = self.wire.command("POST", "window/new", {"type": "tab"})
        self.switch(answer["handle"])
        self.engine.apply()
        self.open(path)
        return answer["handle"]

    def switch(self, handle):
        self.wire.command("POST", "window", {"handle": handle, "name": handle})

    def close_tab(self):
        self.wire.command("DELETE", "window")

    # Looking

    def run(self, script, *arguments):
        """Runs the body of a function in the page."""
        arguments = [each.argument if isinstance(each, Element) else each for each in arguments]
        value = self.wire.command("POST", "execute/sync", {"script": script, "args": arguments})
        return self.wrapped(value)

    def run_async(self, script, *arguments):
        """Runs the body of a function that calls its last argument at its end."""
        value = self.wire.command("POST", "execute/async", {"script": script, "args": list(arguments)})
        return self.wrapped(value)

    def wrapped(self, value):
        if isinstance(value, dict) and ELEMENT in value:
            return Element(self, value)
        if isinstance(value, list):
            return [self.wrapped(each) for each in value]
        return value

    def all(self, role, name=None, within=None):
        """The visible elements of a role whose name matches a pattern."""
        return self.run(ACCESSIBLE, role, name, within)

    def until(self, what, condition, seconds=15):
        """Waits until a condition holds, and returns its value."""
        deadline = time.monotonic() + seconds * SLOWNESS
        while True:
            try:
                if value := condition():
                    return value
            except WireError as error:
                # The page was just replaced.
                if error.code not in ("stale element reference", "no such element", "javascript error", "no such execution context"):
                    raise
                value = error
            if time.monotonic() > deadline:
                raise Missing(f"not after {seconds} s: {what} ({value}). The page shows: {self.words()[:700]!r}")
            time.sleep(0.05)

    def see(self, role, name=None, within=None, seconds=15):
        """Waits for an element, and returns the first."""
        return self.until(f"{role} “{name}”", lambda: self.all(role, name, within), seconds)[0]

    def gone(self, role, name=None, within=None, seconds=15):
        self.until(f"no {role} “{name}”", lambda: not self.all(role, name, within), seconds)

    def words(self):
        """The visible text."""
        try:
            return self.run("return document.body?.innerText ?? ''") or ""
        except WireError as error:
            return f"({error})"

    def read(self, pattern, seconds=15):
        """Waits until the visible text matches a pattern, and returns the match."""
        return self.until(f"the words “{pattern}”", lambda: re.search(pattern, self.words(), re.IGNORECASE), seconds)

    def unread(self, pattern, seconds=15):
        self.until(f"no words “{pattern}”", lambda: not re.search(pattern, self.words(), re.IGNORECASE), seconds)

    # Acting

    def click(self, role, name=None, within=None, seconds=15):
        """Clicks an element, which the page may replace meanwhile."""
        self.until(f"a click on {role} “{name}”", lambda: any(each.try_click() for each in self.all(role, name, within)[:1]), seconds)

    def fill(self, name, text, within=None):
        self.see("field", name, within).fill(text)

    def type(self, name, text, within=None):
        field = self.see("textbox", name, within)
        self.run("arguments[0].focus(); arguments[0].select?.()", field)
        field.type(text)

    def press(self, *keys):
        """Presses keys one after the other; `Shift+Tab` holds the first."""
        self.engine.attend()
        actions = []
        for key in keys:
            held = [KEYS.get(each, each) for each in (key.split("+") if len(key) > 1 else [key])]
            actions += [{"type": "keyDown", "value": each} for each in held]
            actions += [{"type": "keyUp", "value": each} for each in reversed(held)]
        self.wire.command("POST", "actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def write(self, text):
        """Types a text by the keyboard, wherever the focus is."""
        self.press(*[each if each != " " else "Space" for each in text])

    def focused(self):
        """The role-like tag and the words of the element with the focus."""
        return self.run("""
            const element = document.activeElement;
            if (!element || element === document.body) return "";
            return (element.labels?.[0]?.innerText || element.getAttribute("aria-label") || element.innerText || element.id
                || element.tagName).replace(/\\s+/g, " ").trim()""")

    def tab_to(self, pattern, limit=80):
        """Presses Tab until the focus is on an element with these words."""
        for _ in range(limit):
            self.press("Tab")
            if re.search(pattern, self.focused(), re.IGNORECASE):
                return
        raise Missing(f"the key Tab does not reach “{pattern}”")

    def accept_question(self):
        """Says yes to a question of the browser."""
        self.wire.command("POST", "alert/accept")

    # Seeing

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.wire.command("GET", "screenshot")))
