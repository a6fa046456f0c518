"""Starts the three engines, each as a person would have set it up: theme, motion, language and size."""
import atexit
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import shutil
from dataclasses import dataclass

from running import free_port
from wire import HTTPWire, MarionetteWire


@dataclass(frozen=True)
class Setup:
    """What a person has set in the system or the browser. Lengths are CSS pixels."""

    width: int = 1280
    height: int = 900
    is_dark: bool = False
    has_reduced_motion: bool = False
    language: str = "en-GB"
    zoom: int = 1
    # Pictures look alike on every system without scrollbars.
    has_scrollbars: bool = True


def version(*command):
    """The version that a program prints."""
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    return re.search(r"\d+(\.\d+)+\w*", printed)[0]


class Engine:
    """A browser in its own process, with a profile of its own."""

    name = ""
    # What this engine does not have on a machine without sound and screen.
    lacks = frozenset()

    def __init__(self, setup):
        self.setup = setup
        self.folder = tempfile.mkdtemp(prefix="tb-browser.", dir=os.environ["TB_FOLDER"])
        self.process = self.wire = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def spawn(self, command, **environment):
        """Starts a program in a process group, so that its end takes the children along."""
        home = {"HOME": self.folder, "XDG_CONFIG_HOME": self.folder, "XDG_CACHE_HOME": self.folder, "XDG_DATA_HOME": self.folder}
        with open(os.path.join(self.folder, "log"), "w") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **home, **environment}, stdout=log, stderr=log, start_new_session=True)

    def wait_for_port(self, port):
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.name} does not start: {open(os.path.join(self.folder, 'log')).read()}")
                time.sleep(0.05)

    def attend(self):
        """Gives the page the keyboard, as a person does before typing."""

    def stop(self):
        try:
            if self.wire:
                self.wire.quit()
        except Exception:  # The browser may have ended already.
            pass
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Chromium(Engine):
    name = "Chromium"

    @staticmethod
    def version():
        return version("chromium", "--version")

    def start(self):
        port = free_port()
        self.spawn(["chromedriver", f"--port={port}"], LANGUAGE=self.setup.language.replace("-", "_"))
        self.wait_for_port(port)
        arguments = [
            "--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--mute-audio",
            "--disable-background-networking", "--disable-component-update", "--autoplay-policy=no-user-gesture-required",
            f"--lang={self.setup.language}", f"--accept-lang={self.setup.language}", f"--user-data-dir={self.folder}/profile"]
        if not self.setup.has_scrollbars:
            arguments.append("--hide-scrollbars")
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        self.wire = HTTPWire(port, {
            "browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}, "unhandledPromptBehavior": "ignore",
            "goog:chromeOptions": {
                "binary": shutil.which("chromium"), "args": arguments,
                "prefs": {"intl.accept_languages": self.setup.language}}})
        self.apply()

    def apply(self):
        """Sets size and theme of the present tab. Tabs do not inherit them."""
        setup = self.setup
        self.devtools("Emulation.setDeviceMetricsOverride", {
            "width": setup.width // setup.zoom, "height": setup.height // setup.zoom, "deviceScaleFactor": setup.zoom, "mobile": False})
        self.devtools("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if setup.is_dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if setup.has_reduced_motion else "no-preference"}]})

    def devtools(self, name, parameters=None):
        """A command of the DevTools protocol."""
        return self.wire.vendor("goog/cdp/execute", {"cmd": name, "params": parameters or {}})

    def complaints(self):
        """What the console of the page has got: errors of scripts, and violations of the policy."""
        entries = self.wire.vendor("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


class Firefox(Engine):
    name = "Firefox"

    @staticmethod
    def version():
        return version("firefox-esr", "--version")

    def start(self):
        setup, profile = self.setup, os.path.join(self.folder, "profile")
        os.mkdir(profile)
        preferences = {
            "marionette.port": 0, "intl.accept_languages": f"{setup.language}, {setup.language[:2]}",
            "layout.css.prefers-color-scheme.content-override": 0 if setup.is_dark else 1,
            "ui.prefersReducedMotion": int(setup.has_reduced_motion), "layout.css.devPixelsPerPx": str(float(setup.zoom)),
            "media.autoplay.default": 0, "media.volume_scale": "0.0", "remote.prefs.recommended": True,
            "toolkit.startup.max_resumed_crashes": -1, "browser.tabs.unloadOnLowMemory": False,
            "dom.disable_beforeunload": False, "devtools.console.stdout.content": True,
        }
        with open(os.path.join(profile, "user.js"), "w") as file:
            for name, value in preferences.items():
                text = f'"{value}"' if isinstance(value, str) else str(value).lower()
                file.write(f'user_pref("{name}", {text});\n')
        self.spawn(
            ["firefox-esr", "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", profile],
            MOZ_HEADLESS_WIDTH="1280", MOZ_HEADLESS_HEIGHT="1000", MOZ_CRASHREPORTER_DISABLE="1")
        active = os.path.join(profile, "MarionetteActivePort")
        deadline = time.monotonic() + 90
        while not os.path.exists(active) or not open(active).read():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Firefox does not start: {open(os.path.join(self.folder, 'log')).read()}")
            time.sleep(0.1)
        self.wire = MarionetteWire(int(open(active).read()), {"unhandledPromptBehavior": "ignore"})
        self.apply()

    def apply(self):
        """Sets the size of the page. A window of Firefox cannot be as narrow as a phone, but the page in it can."""
        width, height = self.setup.width // self.setup.zoom, self.setup.height // self.setup.zoom
        self.wire.in_chrome("""
            const browser = gBrowser.selectedBrowser;
            for (const [name, value] of [["width", arguments[0]], ["height", arguments[1]]]) {
                browser.style.setProperty(name, `${value}px`);
                browser.style.setProperty(`min-${name}`, `${value}px`);
                browser.style.setProperty(`max-${name}`, `${value}px`);
            }""", [width, height])

    def attend(self):
        """Gives the page the keyboard. The key Tab can lead to the bars of Firefox, and the driver sends the next key to the page."""
        self.wire.in_chrome("if (document.activeElement !== gBrowser.selectedBrowser) gBrowser.selectedBrowser.focus()")

    def complaints(self):
        with open(os.path.join(self.folder, "log")) as log:
            return re.findall(r"^(?:JavaScript error: http|console\.error).*", log.read(), re.MULTILINE)


class WebKit(Engine):
    name = "WebKitGTK"
    lacks = frozenset({"hidden tabs"})
    display = None

    @staticmethod
    def version():
        return version("dpkg-query", "-W", "-f=${Version}", "libwebkit2gtk-4.1-0")

    def start(self):
        self.show_screen()
        port, setup = free_port(), self.setup
        # WebKitGTK takes the language of pages from the locale, which has to exist.
        language = setup.language.replace("-", "_")
        locale = f"{language}.UTF-8"
        subprocess.run(["localedef", "--no-archive", "-i", language, "-f", "UTF-8", os.path.join(self.folder, locale)], check=True)
        os.makedirs(os.path.join(self.folder, "gtk-3.0"))
        with open(os.path.join(self.folder, "gtk-3.0", "settings.ini"), "w") as file:
            file.write(f"[Settings]\ngtk-enable-animations={int(not setup.has_reduced_motion)}\n"
                       f"gtk-application-prefer-dark-theme={int(setup.is_dark)}\n")
        self.spawn(
            ["WebKitWebDriver", f"--port={port}"], DISPLAY=WebKit.display, LOCPATH=self.folder, LANG=locale, LC_ALL=locale,
            GTK_THEME="Adwaita:dark" if setup.is_dark else "Adwaita", NO_AT_BRIDGE="1", LIBGL_ALWAYS_SOFTWARE="1",
            WEBKIT_DISABLE_COMPOSITING_MODE="1", GDK_BACKEND="x11")
        self.wait_for_port(port)
        self.wire = HTTPWire(port, {
            "browserName": "MiniBrowser", "unhandledPromptBehavior": "ignore",
            "webkitgtk:browserOptions": {
                "binary": "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
                "args": ["--automation", f"--geometry={setup.width // setup.zoom}x{setup.height}"]}})
        self.apply()

    @classmethod
    def show_screen(cls):
        """WebKitGTK has no headless mode: it needs a screen. All windows of a run share one."""
        if cls.display:
            return
        reading, writing = os.pipe()
        cls.screen = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1600x1400x24", "-nolisten", "tcp"],
            pass_fds=[writing], stderr=subprocess.DEVNULL)
        atexit.register(cls.screen.terminate)
        os.close(writing)
        with os.fdopen(reading) as file:
            cls.display = ":" + file.readline().strip()

    def apply(self):
        """Sets the size of the window, until the page in it has the wanted size."""
        want = self.setup.width // self.setup.zoom, self.setup.height // self.setup.zoom
        size = want
        for _ in range(4):
            self.wire.command("POST", "window/rect", {"width": size[0], "height": size[1]})
            # The page may get its new size a moment later.
            deadline = time.monotonic() + 3
            while (inner := tuple(self.wire.command("POST", "execute/sync", {"script": "return [innerWidth, innerHeight]", "args": []}))) != want:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            if inner == want:
                return
            # The frame of the window takes less than 200 pixels.
            size = tuple(min(each + 200, max(each, known + each - now)) for each, known, now in zip(want, size, inner))

    def complaints(self):
        return []


ENGINES = {"chromium": Chromium, "firefox": Firefox, "webkit": WebKit}
