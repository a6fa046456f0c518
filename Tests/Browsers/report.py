"""Writes docs/browsers.md from what a run has seen."""
import datetime
import importlib.resources
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
make test-browsers                                  # all journeys in all engines
make test-browsers BROWSERS="chromium --journey upload"      # one journey in one engine; this page stays as it is
```

This run: {date}, {system}, {processors} processors.

| engine | version | driven by |
|---|---|---|
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


def write(results):
    """Writes the page. `results` maps engine and journey to a failure, or "", and figures."""
    present = [name for name in ENGINES if any(engine == name for engine, _ in results)]
    rows, figures = [], []
    for journey in JOURNEYS:
        cells = []
        for name in present:
            if name in journey.without:
                cells.append("–")
                continue
            failure, found = results[name, journey.name]
            cells.append("**failed**" if failure else "passed")
            figures += [f"| {figure} | {ENGINES[name].name} | {value} |" for figure, value in found.items() if figure != "views"]
        rows.append(f"| {journey.name} | {' | '.join(cells)} | {journey.description} |")
    head = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()[:100]
    text = TEXT.format(
        date=datetime.date.today().isoformat(), system=f"{platform.freedesktop_os_release()['PRETTY_NAME']}", processors=os.cpu_count(),
        engines="\n".join(f"| {ENGINES[name].name} | {ENGINES[name].version()} | {DRIVERS[name]} |" for name in present),
        axe=re.search(r"v([\d.]+)", head)[1], figures="\n".join(sorted(figures)), names=" | ".join(ENGINES[name].name for name in present),
        lines="---|" * len(present), journeys="\n".join(rows))
    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "..", "..", "docs", "browsers.md"), "w") as file:
        file.write(text)
