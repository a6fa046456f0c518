"""Keeps what runs have seen, and writes docs/browsers.md from it."""
import datetime
import importlib.resources
import json
import os
import platform
import re

from engines import ENGINES
from journeys import JOURNEYS

TEXT = """# Browsers

`make test-browsers` drives three engines through the journeys below, and writes this page. Each journey starts a browser
of its own, against a server and a PostgreSQL that the run itself starts. A journey looks for elements by their roles and
names, as a screen reader does, and clicks and types as a person does.

```sh
make test-browsers                                        # all journeys in all engines
make test-browsers BROWSERS="chromium --journey upload"   # one journey in one engine; this page stays as it is
```

The machine had {system} and {processors} processors, and was busy with other work. Each result is that of the journey's
latest run. The time from a commit to the page was measured alone, with a release build.

| engine | version | driven by | date |
|---|---|---|---|
{engines}

axe-core {axe} looks at each view with all its rules. The journeys that look at views also measure each element: none
reaches beyond the page or its frame.

## Figures

| figure | engine | value |
|---|---|---|
{figures}

## Journeys

| journey | {names} | what happens |
|---|{lines}---|
{journeys}
"""

DRIVERS = {"chromium": "chromedriver", "firefox": "Marionette", "webkit": "WebKitWebDriver, under Xvfb"}



def keep(folder, engine, journey, failure, figures):
    """Keeps the result of one journey in an engine, in place of an earlier one."""
    path = os.path.join(folder, f"{engine.name}.json")
    results = read(folder, engine)
    # Results of another version say nothing about this one.
    if results.get("version") != engine.version():
        results = {"version": engine.version(), "journeys": {}}
    results["date"] = datetime.date.today().isoformat()
    results["journeys"][journey.name] = {"failure": failure, "figures": figures}
    with open(path, "w") as file:
        json.dump(results, file)


def read(folder, engine):
    try:
        with open(os.path.join(folder, f"{engine.name}.json")) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def write(folder):
    """Writes the page from the latest result of each journey in each engine."""
    runs = {name: read(folder, engine) for name, engine in ENGINES.items()}
    present = [name for name, run in runs.items() if run]
    rows, figures = [], []
    for journey in JOURNEYS:
        cells = []
        for name in present:
            result = runs[name]["journeys"].get(journey.name)
            if name in journey.without or result is None:
                cells.append("–" if name in journey.without else "not run")
                continue
            cells.append("**failed**" if result["failure"] else "passed")
            figures += [f"| {figure} | {ENGINES[name].name} | {value} |" for figure, value in result["figures"].items() if figure != "views"]
        rows.append(f"| {journey.name} | {' | '.join(cells)} | {journey.description} |")
    head = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()[:100]
    text = TEXT.format(
        system=platform.freedesktop_os_release()["PRETTY_NAME"], processors=os.cpu_count(),
        engines="\n".join(f"| {ENGINES[name].name} | {runs[name]['version']} | {DRIVERS[name]} | {runs[name]['date']} |" for name in present),
        axe=re.search(r"v([\d.]+)", head)[1], figures="\n".join(sorted(figures)), names=" | ".join(ENGINES[name].name for name in present),
        lines="---|" * len(present), journeys="\n".join(rows))
    page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "browsers.md")
    with open(page, "w") as file:
        file.write(text)
