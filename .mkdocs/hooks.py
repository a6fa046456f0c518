"""What the site needs beyond the pages of docs/: the README of the project, and the files outside docs/ that pages link to."""
import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
# A link from a page to a file above docs/, with an optional anchor.
OUTSIDE = re.compile(r"\]\((?:\.\./)+(?P<path>(?:README\.md|Sources/|Tests/|deploy/|migrations/)[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


def on_files(files, config):
    readme = (ROOT / "README.md").read_text()
    files.append(File.generated(config, "start.md", content=readme.replace("](docs/", "](")))
    for path in sorted(linked_files()):
        files.append(File.generated(config, f"files/{path}", content=(ROOT / path).read_bytes()))
    return files


def linked_files():
    """The files outside docs/ to which pages link, except the README."""
    for page in (ROOT / "docs").rglob("*.md"):
        for match in OUTSIDE.finditer(page.read_text()):
            if match["path"] != "README.md" and (ROOT / match["path"]).is_file():
                yield match["path"]


def on_page_markdown(markdown, page, config, files):
    up = "../" * page.file.src_uri.count("/")

    def inside(match):
        path = "start.md" if match["path"] == "README.md" else f"files/{match['path']}"
        return f"]({up}{path}{match['anchor'] or ''})"

    return OUTSIDE.sub(inside, markdown)
