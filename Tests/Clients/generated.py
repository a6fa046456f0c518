"""Generates clients from the served description, and lets each do a whole journey. Nobody edits what is generated.

The settings are those of docs/generated-clients.md, and the examples of that page run, too.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import urllib.request

from scene import FOLDER, password

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENT = os.path.join(FOLDER, "openapi.json")

with open(os.path.join(HERE, "..", "..", "docs", "generated-clients.md")) as page:
    PAGE = page.read()
(OVERRIDES,) = re.findall(r"<<'END'\n(.*?)END\n", PAGE, re.S)
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)

# What openapi-generator says whatever the description is.
KNOWN = (
    "OpenAPI 3.1 support is still in beta", "From (reserved word) cannot be used as model name",
    # Of `anyOf` with null, and of objects with any members.
    "Failed to get the schema name: null", "Codegen property is null (e.g. map/dict of undefined type)")


def openapi_python_client():
    folder = os.path.join(FOLDER, "therapybridge_client")
    with open(os.path.join(FOLDER, "overrides.yaml"), "w") as file:
        file.write(OVERRIDES)
    said = run(
        "openapi-python-client", "generate", "--path", DOCUMENT, "--meta", "none", "--output-path", folder, "--config",
        file.name, "--fail-on-warning")
    assert "WARNING" not in said.upper(), said
    return "journey_python_client.py", FOLDER, EXAMPLES[0]


def openapi_generator():
    folder = os.path.join(FOLDER, "generator")
    said = run(
        "openapi-generator-cli", "generate", "--input-spec", DOCUMENT, "--generator-name", "python", "--output", folder)
    warnings = [line for line in said.splitlines() if "WARN" in line or "ERROR" in line]
    new = [line for line in warnings if not any(known in line for known in KNOWN)]
    assert not new, new
    return "journey_generator.py", folder, EXAMPLES[1]


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        raise AssertionError(f"{command[0]} failed:\n{done.stdout[-6000:]}")
    return done.stdout


def journey(generate):
    script, folder, example = generate()
    print(f"  {generate.__name__}: generated without a new warning", flush=True)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([folder, HERE]), "URL": os.environ["TB_URL"],
        "EMAIL": "therapist@demo.test", "PASSWORD": password()}
    said = run(sys.executable, "-c", example, env=environment)
    assert re.match(r"[0-9a-f-]{36} \S", said), said
    print(run(sys.executable, os.path.join(HERE, script), env=environment), end="", flush=True)


def main():
    with urllib.request.urlopen(os.environ["TB_URL"] + "/openapi.json") as answer, open(DOCUMENT, "wb") as file:
        shutil.copyfileobj(answer, file)
    failed = False
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for result in [pool.submit(journey, generate) for generate in (openapi_python_client, openapi_generator)]:
            try:
                result.result()
            except Exception as error:
                failed = True
                print(f"  FAILED: {error}", flush=True)
    sys.exit(failed)


main()
