# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/gateway.md has every setting, every code and every known upstream of the gateway."""

import ast
import re
from pathlib import Path

import pytest

from sealtrail.providers.registry import READERS

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gateway.md").read_text("utf-8")
SOURCES = sorted((ROOT / "gateway" / "sealtrail_gateway").glob("*.py"))
#: Exceptions that become an answer: where their code stands among the arguments.
ANSWERS = {"Stopped": 1, "NobodyKnown": 0}


def codes():
    """Codes that are written in the source as what a caller is answered."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            name = node.func.attr if isinstance(node.func, ast.Attribute) else name
            at = ANSWERS.get(name, 1 if name == "refuse" else None)
            if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
                yield node.args[at].value


def test_every_setting_is_in_the_table():
    named = {
        found
        for path in SOURCES
        for found in re.findall(r"SEALTRAIL_[A-Z_]+[A-Z]", path.read_text("utf-8"))
    }
    assert len(named) > 7
    assert [name for name in sorted(named - {"SEALTRAIL_LEDGER"}) if f"`{name}`" not in PAGE] == []


def test_every_code_is_in_the_table():
    found = set(codes())
    assert {"audit-unavailable", "person-missing", "already-called"} <= found
    assert [code for code in sorted(found) if f"`{code}`" not in PAGE] == []


def test_every_known_upstream_is_named():
    listed = PAGE.partition("Known by name: ")[2].partition(". Redirects")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(READERS)
