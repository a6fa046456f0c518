"""Runs the journeys in the engines, one after the other, and writes what happened."""
import argparse
import os
import re
import signal
import sys
import time
import traceback

from browser import Browser
from engines import ENGINES, Setup
from journeys import JOURNEYS
from report import keep, write
from world import Site


class World:
    """What a journey gets: the server of all journeys, and as many browsers and servers of its own as it wants."""

    def __init__(self, engine, site, images):
        self.engine, self.site, self.mine, self.notes = engine, site, [], {}
        # The folder of the pictures that a journey is about.
        self.images = images

    def browser(self, site=None, **setup):
        """A browser of one person. Cookies and storage are its own."""
        started = self.engine(Setup(**setup))
        self.mine.append(started)
        return Browser(started, (site or self.site).address)

    def server(self, is_direct=False, **settings):
        """A server with settings of its own, over the same database."""
        site = Site(is_direct, **settings)
        self.mine.append(site)
        return site

    def pictures(self, browser, prefix):
        """Returns a function that keeps a picture of the present view, if that is wanted."""
        def keep(view):
            if os.environ.get("BROWSERS_PICTURES"):
                name = f"{self.engine.name}-{prefix}-{view}.png".replace(" ", "-")
                browser.screenshot(os.path.join(os.environ["BROWSERS_PICTURES"], name))
        return keep

    def note(self, name, value):
        """A figure for docs/browsers.md."""
        self.notes[name] = value

    def close(self):
        for each in reversed(self.mine):
            each.stop() if not isinstance(each, Site) else each.close()
        self.site.network.restore()
        self.site.database.restore()


def carry_out(journey, engine, site, pictures, images):
    """Returns what went wrong, or "", and the figures of the journey."""
    world = World(engine, site, images)
    try:
        journey.steps(world)
        for each in world.mine:
            if isinstance(each, engine) and (complaints := [line for line in each.complaints() if "Content Security Policy" in line or "TypeError" in line or "ReferenceError" in line]):
                raise AssertionError("the console has: " + " | ".join(complaints[:5]))
        return "", world.notes
    except Exception as error:
        traceback.print_exc()
        for number, each in enumerate(world.mine):
            if isinstance(each, engine):
                try:
                    Browser(each, site.address).screenshot(os.path.join(pictures, f"{engine.name}-{journey.name}-{number}.png".replace(" ", "-")))
                except Exception:  # The browser itself may be gone.
                    pass
        return f"{type(error).__name__}: {error}"[:300], world.notes
    finally:
        world.close()


def main():
    # The end of the run ends the browsers and servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser()
    parser.add_argument("engines", nargs="*", choices=[[], *ENGINES])
    parser.add_argument("--journey", default="", help="a pattern of the names of journeys")
    parser.add_argument("--quick", action="store_true", help="only the journeys that every change has to pass")
    parser.add_argument("--write", action="store_true", help="write docs/browsers.md from the latest run of each journey")
    parser.add_argument("--pictures", default=os.path.join(os.environ.get("TMPDIR", "/tmp"), "tb-browsers-pictures"))
    parser.add_argument("--images", help="the folder of the pictures of the README (default: that of --pictures)")
    options = parser.parse_args()
    options.images = options.images or options.pictures
    for folder in (options.pictures, options.images):
        os.makedirs(folder, exist_ok=True)
    results = []
    site = Site()
    try:
        for name in options.engines or list(ENGINES):
            engine = ENGINES[name]
            print(f"{engine.name} {engine.version()}", flush=True)
            for journey in JOURNEYS:
                if not re.search(options.journey, journey.name) or name in journey.without or options.quick and not journey.is_quick:
                    continue
                start = time.monotonic()
                failure, notes = carry_out(journey, engine, site, options.pictures, options.images)
                results.append(failure)
                keep(options.pictures, engine, journey, failure, notes)
                seconds = time.monotonic() - start
                print(f"  {'failed' if failure else 'passed'} {journey.name} ({seconds:.1f} s) {notes or ''} {failure}", flush=True)
    finally:
        site.close()
    failed = sum(1 for failure in results if failure)
    print(f"{len(results) - failed} passed, {failed} failed")
    if options.write:
        write(options.pictures)
    sys.exit(1 if failed else 0)


main()
