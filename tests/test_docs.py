# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents are true: their blocks run, and nothing that the code offers is missing in them.

A block whose fence says `run` runs for real, in order, beside a ledger of `sealtrail-server dev`:
in a directory where `ledger` is the ledger's data directory, with its address in $API.
"""

import doctest
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import describe
import pytest
import typer.main
from click import Group

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "client" / "README.md"])
_FENCE = re.compile(r"^```([a-z]+) run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


class Block(NamedTuple):
    """A runnable block of a page."""

    language: str
    code: str
    line: int


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def blocks(path: Path) -> list[Block]:
    text = path.read_text("utf-8")
    return [
        Block(found[1], found[2], text[: found.start()].count("\n") + 1)
        for found in _FENCE.finditer(text)
    ]


RUNNABLE = [path for path in PAGES if blocks(path)]


# Blocks


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    """A ledger of `sealtrail-server dev`, as a reader starts it."""
    data = tmp_path_factory.mktemp("docs") / "ledger"
    server = subprocess.Popen(
        [sys.executable, "-m", "scripts.cli", "dev", "--data", data, "--port", "0", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        running = json.loads(server.stdout.readline())
        yield running["api"], data
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
        server.stdout.close()


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.name)
def test_each_runnable_block_runs(path, dev, tmp_path):
    """A reader who pastes them one after the other gets no error."""
    api, data = dev
    (tmp_path / "ledger").symlink_to(data)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    programs = _programs(tmp_path)
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "API": api,
        "PYTHONWARNINGS": "error",
    }
    for block in blocks(path):
        command = {"sh": ["sh", "-eu", "-c"], "python": [sys.executable, "-c"]}[block.language]

        done = subprocess.run(
            [*command, block.code],
            check=False,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

        where = f"{path.name}, the block in line {block.line}"
        assert done.returncode == 0, f"{where}:\n{done.stdout}{done.stderr}"


def _programs(directory: Path) -> Path:
    """A directory with the commands that an installation has, whatever this one calls them."""
    programs = directory / "bin"
    programs.mkdir()
    for name, module in (
        ("sealtrail", "sealtrail.cli"),
        ("sealtrail-server", "scripts.cli"),
        ("sealtrail-gateway", "sealtrail_gateway.command"),
    ):
        path = programs / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m {module} "$@"\n')
        path.chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    return programs


def test_the_formats_are_what_the_code_makes():
    """Every value in the page on formats is computed again."""
    found = doctest.testfile(str(DOCS / "formats.md"), module_relative=False)

    assert found.attempted > 10
    assert found.failed == 0


def test_the_two_commands_that_the_readme_opens_with_are_there():
    """A stranger's first two minutes; what the demo prints is tested where it runs."""
    opening = (ROOT / "README.md").read_text("utf-8").split("```")[1]

    commands = [line[2:] for line in opening.splitlines() if line.startswith("$ ")]

    assert commands == ["scripts/demo", "scripts/test"]
    for script in ("demo", "test", "build_verifier"):
        path = ROOT / "scripts" / script
        assert path.stat().st_mode & stat.S_IXUSR, script


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_link_leads_somewhere(path):
    """Within the repository; other people's pages are theirs."""
    for target, anchor in _LINK.findall(path.read_text("utf-8")):
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor[1:] in _anchors(there.read_text("utf-8")), f"{target}{anchor}"


def _anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_each_promise_names_a_test_that_is_there():
    """A promise in SECURITY.md is worth what its test shows."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text("utf-8"))

    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text("utf-8")
    ]

    assert named
    assert missing == []


# Completeness


def test_every_event_type_is_documented():
    from ledger.catalog import CATALOG

    missing = [type_ for type_, _ in CATALOG if f"\n## {type_}\n" not in page("events.md")]

    assert missing == []


def test_every_setting_is_documented():
    from ledger.settings import SETTINGS

    missing = [
        one.variable for one in SETTINGS if f"| `{one.variable}` |" not in page("settings.md")
    ]

    assert missing == []


def test_every_problem_is_documented():
    """`python tests/describe.py` was run after the last change."""
    assert describe.problems_in(page("api.md")) == describe.problems()


def test_every_contradiction_says_what_to_do():
    """Whoever is woken at night finds the name that the log shows, and a next step."""
    from ledger.errors import IntegrityViolation

    table = page("operations.md")

    missing = [
        error.problem
        for error in describe.errors()
        if issubclass(error, IntegrityViolation) and f"| `{error.problem}` |" not in table
    ]

    assert missing == []


def test_the_openapi_document_is_current():
    """`python tests/describe.py` was run after the last change."""
    assert describe.OPENAPI.read_text("utf-8") == describe.openapi()


def test_every_endpoint_is_documented():
    """Its method and path, as people write them; those of a named Book once for all."""
    paths = json.loads(describe.openapi())["paths"]

    missing = [
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        for method in operations
        if not path.startswith(("/v1/books/", "/checkpoint", "/tile/"))
        and not re.search(rf"`{method.upper()} {re.escape(path)}[`?]", page("api.md"))
    ]

    assert missing == []
    assert all(f"`{path}`" in page("api.md") for path in ("/checkpoint", "/tile/{path}"))


def test_every_command_is_documented():
    """Those of the server, and those of the client."""
    from scripts.cli import app

    commands = [
        *(f"sealtrail-server {name}" for name in _commands(typer.main.get_command(app))),
        "sealtrail verify",
        "sealtrail proof get",
        "sealtrail proof verify",
    ]

    assert [name for name in commands if f"| `{name}` |" not in page("operations.md")] == []


def _commands(group: Group) -> list[str]:
    found = []
    for name, command in group.commands.items():
        below = _commands(command) if hasattr(command, "commands") else [""]
        found += [f"{name} {rest}".strip() for rest in below]
    return found


def test_every_script_is_documented():
    """What lies beside the package `scripts` is run by people, and in CONTRIBUTING or README."""
    told = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    scripts = [path.name for path in (ROOT / "scripts").iterdir() if path.suffix == ""]

    missing = [name for name in scripts if f"scripts/{name}" not in told and name != "__pycache__"]

    assert missing == []
