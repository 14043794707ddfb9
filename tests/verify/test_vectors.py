# SPDX-License-Identifier: GPL-3.0-or-later
"""The vector files are what the second implementation makes, and it shares no code with us."""

import subprocess
import sys
from pathlib import Path

import pytest

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
NAMES = ["canonical.json", "chain.json", "disclosure.json", "entry.json", "merkle.json"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    # -I and -S: without site-packages the product cannot be imported, even by mistake.
    command = [sys.executable, "-I", "-S", str(VECTORS / "make.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_second_implementation_makes_the_committed_vectors(made, name):
    """Nobody edits a vector by hand to make a test pass."""
    assert (made / name).read_bytes() == (VECTORS / name).read_bytes()


def test_it_makes_no_file_beyond_these(made):
    """A new vector file gets a test, or it is not made."""
    assert sorted(path.name for path in made.iterdir()) == NAMES
