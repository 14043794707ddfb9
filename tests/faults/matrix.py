# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix: what fails, and what then becomes of ingest, of what was recorded, of people.

    python tests/faults/matrix.py        writes docs/faults.md from the tests

Each test is one row. Its docstring begins with the fault in one sentence and goes on with

    Kind:      what sort of fault it is, by a word of KINDS
    Write:     for the first two kinds: which write it is that fails
    Ingest:    whether events are still recorded
    Lost:      what is gone, beyond what was never acknowledged
    Operator:  what there is to be seen

A module names the dependency whose rows it holds in its constant DEPENDENCY, wherever it lies.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"

NOT_PERSISTED, PERSISTED = "failed, not persisted", "reported as failed, persisted"
KINDS = (
    NOT_PERSISTED, PERSISTED, "two in a row", "full disk", "read-only disk", "gone", "slow",
    "clock back", "clock ahead", "older backup", "two instances", "silent for days", "lies",
    "damage", "crowd",
)  # fmt: skip
DEPENDENCIES = (
    "PostgreSQL", "Checkpoint store", "Time-stamp authority", "Archive directory", "Keystore",
    "Clocks", "Two instances", "Books", "Callers",
)  # fmt: skip
FIELDS = ("Kind", "Write", "Ingest", "Lost", "Operator")

_HEAD = """# What happens when something fails

Made from the tests that it names (`python tests/faults/matrix.py`); do not edit.

Each row is a fault, and a test that brings it about: a real PostgreSQL whose line is cut or whose
disk is full, a real file system that refuses, a real authority that is silent. *Acknowledged* means
that the client has a receipt. Nothing acknowledged is lost, but where a row says so; where it says
*kept*, what was committed without its receipt gets one when the same request is sent again.

The *archive directory* is where the ledger leaves files for others: today finished packets. Chosen
anchors and time-stamp replies lie in PostgreSQL, where their rows are. A sealed archive of its own
comes later.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault, as its test tells it."""

    dependency: str
    test: str
    fault: str
    fields: dict[str, str]


@cache
def rows() -> list[Row]:
    """Return the rows of all tests, in the order of modules and tests."""
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        module = ast.parse(path.read_text("utf-8"))
        dependency = _dependency(module)
        if dependency is None:
            continue
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                fault, fields = _read(ast.get_docstring(node) or "")
                test = f"{path.relative_to(TESTS.parent)}::{node.name}"
                found.append(Row(dependency=dependency, test=test, fault=fault, fields=fields))
    return found


def page() -> str:
    """Return docs/faults.md."""
    lines = [_HEAD]
    found = rows()
    for dependency in DEPENDENCIES:
        lines += [
            f"## {dependency}",
            "",
            "| fault | kind | ingest | lost | operator sees | test |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for row in found:
            if row.dependency == dependency:
                kind = row.fields["Kind"]
                if "Write" in row.fields:
                    kind = f"{row.fields['Write']}: {kind}"
                cells = [row.fault, kind, *(row.fields[name] for name in FIELDS[2:])]
                file, _, name = row.test.partition("::")
                cells.append(f"[{_words(name)}](../{file})")
                lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _dependency(module: ast.Module) -> str | None:
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DEPENDENCY":
            return str(ast.literal_eval(node.value))
    return None


def _read(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its first paragraph and its fields."""
    text, _, rest = docstring.partition("\n\n")
    fields: dict[str, str] = {}
    for part in re.split(rf"^(?=(?:{'|'.join(FIELDS)}):)", rest, flags=re.MULTILINE):
        name, colon, value = part.partition(":")
        if colon:
            fields[name.strip()] = " ".join(value.split())
    return " ".join(text.split()), fields


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
