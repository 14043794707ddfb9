# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of plugging in run as they are, and what they do is on record."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_world import PERSON_KEY
from provider_server import SPOKEN, picture

from sealtrail.content import digest_text

pytestmark = pytest.mark.once

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "plug_in"
WISH = "a lighthouse in the fog"


def run(name, *arguments, cwd, **settings):
    """Run an example with nothing in its environment but these settings."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), **settings}
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        check=False, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def ledger_of(world, directory):
    """What a program is told of the ledger of the tests."""
    (directory / "token").write_text(world.service.pipeline)
    (directory / "trust.json").write_bytes(world.service.house.trust().print())
    return {
        "SEALTRAIL_URL": world.service.url,
        "SEALTRAIL_TOKEN_FILE": str(directory / "token"),
        "SEALTRAIL_TRUST": str(directory / "trust.json"),
    }


def test_a_program_that_knows_of_no_audit_is_recorded(world, tmp_path):
    """Two variables of its environment, and nothing else: picture and streamed chat."""
    done = run(
        "unchanged.py", WISH, "made.png", cwd=tmp_path,
        OPENAI_BASE_URL=f"{world.url}/openai/v1", OPENAI_API_KEY=PERSON_KEY,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made.png").read_bytes() == picture()
    assert done.stdout.strip() == SPOKEN
    assert world.types == ["GEN_ATTEMPT", "GEN"] * 2
    assert world.entries[1]["body"]["outputs"][0]["sha256"] == digest_text(picture())
    assert {world.person(entry) for entry in world.entries} == {"emp-7"}


def test_a_model_of_ones_own_is_recorded_with_its_judge(world, tmp_path):
    """Two calls for what is painted; one, a denial, for what is not."""
    settings = ledger_of(world, tmp_path)
    done = run("painter.py", "emp-7", WISH, "made.ppm", cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    assert world.types == ["GEN_ATTEMPT", "GEN"] * 2
    painted = (tmp_path / "made.ppm").read_bytes()
    assert world.entries[3]["body"]["outputs"][0]["sha256"] == digest_text(painted)
    done = run("painter.py", "emp-7", "a passport", "not.ppm", cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    assert world.types[4:] == ["GEN_ATTEMPT", "GEN_DENY"]
    assert not (tmp_path / "not.ppm").exists()


def test_without_a_ledger_nothing_is_painted(world, tmp_path):
    """It ends with our error, by name, and leaves no picture."""
    settings = ledger_of(world, tmp_path) | {"SEALTRAIL_URL": "http://127.0.0.1:9"}
    done = run("painter.py", "emp-7", WISH, "made.ppm", cwd=tmp_path, **settings)
    assert done.returncode != 0
    assert "AuditUnavailable" in done.stderr
    assert not (tmp_path / "made.ppm").exists()


def test_the_notebook_runs_from_its_first_cell_to_its_last(world, tmp_path):
    """Cell by cell in one interpreter; three calls are on record, one inside another."""
    notebook = json.loads((EXAMPLES / "trail.ipynb").read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    (tmp_path / "cells.py").write_text("\n".join("".join(cell["source"]) for cell in cells))
    done = run(tmp_path / "cells.py", cwd=tmp_path, **ledger_of(world, tmp_path))
    assert done.returncode == 0, done.stderr
    assert "the prompt is in it: False - the person: False" in done.stdout
    assert "proved at position" in done.stdout
    assert "painted without a ledger: 0" in done.stdout
    assert world.types == ["GEN_ATTEMPT", "GEN", "GEN_ATTEMPT", "GEN_ATTEMPT", "GEN", "GEN"]
    assert world.entries[3]["trace"]["parent_event"] == world.entries[2]["event_id"]
