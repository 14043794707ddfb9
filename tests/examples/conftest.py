# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples are in no distribution; they are found from the root of the repository."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "client")]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A directory with the eight photographs, fetched once."""
    from examples.pipeline import photographs

    directory = tmp_path_factory.mktemp("photographs")
    try:
        photographs.obtain(directory)
    except photographs.PhotographsUnavailable as reason:
        pytest.skip(f"the photographs cannot be downloaded here: {reason}")
    return directory
