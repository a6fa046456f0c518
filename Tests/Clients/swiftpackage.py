"""A package of its own that depends on the client for Swift, from the texts of docs/swift-client.md and docs/clients.md.

By default, Swift resolves it: the URL, the names and all versions fit. With the variable of the page, there is nothing but the
client, and a target can have a name of the server's. With SWIFT_BUILD=1 it also builds, in several minutes, and its progress bar
follows a session to its end.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scene import Server, password, wait_for

ROOT = Path(__file__).resolve().parents[2]
ALONE = re.search(r"^(\w+)=1 swift build$", (ROOT / "docs/swift-client.md").read_text(encoding="utf-8"), re.M)[1]
URL = 'url: "https://git.example.org/therapybridge.git", branch: "main"'
MAIN = """import Foundation

let environment = ProcessInfo.processInfo.environment
try await showProgress(
    at: environment["U"]!, email: "therapist@demo.test", password: environment["PASSWORD"]!, session: environment["S"]!
) { FileHandle.standardOutput.write(Data("\\($0)\\n".utf8)) }
"""


def example(page, name):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.search(rf"^```swift {re.escape(name)}\n(.*?)^```", text, re.M | re.S)[1]


def write(folder):
    """Writes the package of a reader next to a clone of this one."""
    manifest = example("swift-client.md", "Package.swift")
    if URL not in manifest:
        sys.exit(f"the manifest of docs/swift-client.md has no {URL}")
    # The path of the comment: a clone whose folder has the name of the package.
    Path(folder, "therapybridge").symlink_to(ROOT)
    sources = Path(folder, "app/Sources/ProgressApp")
    sources.mkdir(parents=True)
    Path(folder, "app/Package.swift").write_text(manifest.replace(URL, 'path: "../therapybridge"'), encoding="utf-8")
    # The same versions as here: what is newer is not what this test is about.
    shutil.copy(ROOT / "Package.resolved", Path(folder, "app/Package.resolved"))
    for page, name in [("clients.md", "ProgressBar.swift"), ("swift-client.md", "Upload.swift"),
                       ("swift-client.md", "SessionList.swift"), ("swift-client.md", "Correction.swift")]:
        (sources / name).write_text(example(page, name), encoding="utf-8")
    (sources / "main.swift").write_text(MAIN, encoding="utf-8")
    return Path(folder, "app")


def swift(package, *arguments):
    run = subprocess.run(["swift", *arguments], cwd=package, check=False, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"swift {' '.join(map(str, arguments))} fails:\n" + "\n".join(re.findall(r".*error.*", run.stdout)[:20] or [run.stdout[-3000:]]))
    return run.stdout


def resolve(package):
    """The packages that SwiftPM finds for the package of this server."""
    found = json.loads(swift(package, "package", "show-dependencies", "--format", "json"))
    (bridge,) = found["dependencies"]
    assert bridge["identity"] == "therapybridge", found
    return {each["identity"] for each in bridge["dependencies"]}


def main():
    with tempfile.TemporaryDirectory(dir=os.environ["TB_FOLDER"]) as folder:
        package = write(folder)
        whole = resolve(package)
        os.environ[ALONE] = "1"
        manifest = package / "Package.swift"
        text = manifest.read_text(encoding="utf-8")
        renamed = re.sub(r'name: "ProgressApp", (dependencies: .*)\)$', r'name: "App", \1, path: "Sources/ProgressApp")', text, flags=re.M)
        assert renamed != text, text
        manifest.write_text(renamed, encoding="utf-8")
        alone = resolve(package)
        manifest.write_text(text, encoding="utf-8")
        assert "async-http-client" in alone and alone < whole and "hummingbird" not in alone, (alone, whole)
        print(f"  resolves {len(whole)} dependencies, and {len(alone)} for the client alone", flush=True)
        if not os.environ.get("SWIFT_BUILD"):
            return
        swift(package, "build")
        print("  builds", flush=True)
        server = Server()
        session = server.new_session()
        server.report(session, "transcribing", 30, "Hearing both voices")
        with open(Path(folder, "output"), "w+", encoding="utf-8") as output:
            app = subprocess.Popen(
                [package / ".build/debug/ProgressApp"], stdout=output,
                env={**os.environ, "U": server.url, "S": session, "PASSWORD": password()})
            path = Path(output.name)
            wait_for("the app follows", lambda: "both voices" in path.read_text(encoding="utf-8") or app.poll() is not None, 60)
            server.report(session, "transcribed", 60)
            server.report(session, "processed", 100, "All done")
            status = app.wait(60)
            server.stop()
            output.seek(0)
            lines = output.read().splitlines()
        assert status == 0 and lines[0] == "#" * 15 + " 30 % Hearing both voices" and lines[-1] == "#" * 50 + " 100 % All done", lines
        print("  its progress bar follows a session to its end")


main()
