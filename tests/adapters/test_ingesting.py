# SPDX-License-Identifier: GPL-3.0-or-later
"""Data that a program loads: each member on record before the program sees it."""

from hashlib import sha256

import numpy as np
import pytest

from sealtrail import AuditUnavailable
from sealtrail.verify import canonical

pytestmark = pytest.mark.once


def _digest(data):
    return f"sha256:{sha256(data).hexdigest()}"


def test_each_file_is_on_record_before_it_is_handed_on(trail, recorded, tmp_path):
    """When the program has the second file, two entries are there, and not a third one."""
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    with trail.acting_for("emp-7"):
        counts = [
            (path.name, len(recorded.types))
            for path in trail.ingesting(sorted(tmp_path.iterdir()), rights="licence:getty-118")
        ]
    assert counts == [("a", 1), ("b", 2), ("c", 3)]
    digests = [entry["body"]["asset"]["sha256"] for entry in recorded.entries]
    assert digests == [_digest(name) for name in (b"a", b"b", b"c")]
    assert recorded.entries[0]["body"]["rights"] == {"basis": "LICENSED", "license": "getty-118"}


def test_rows_are_recorded_by_what_of_them_is_named(trail, recorded):
    """Of a row, its array as numpy saves it; the row itself is handed on unchanged."""
    import io

    rows = [{"image": np.full((2, 2, 3), at, dtype="uint8"), "label": at} for at in range(2)]
    loader = trail.ingesting(rows, rights="owned", of=lambda row: row["image"], type="image")
    with trail.acting_for("emp-7"):
        assert list(loader) == rows
    out = io.BytesIO()
    np.save(out, rows[1]["image"])
    assert recorded.entries[1]["body"]["asset"]["sha256"] == _digest(out.getvalue())
    assert len(loader) == 2


def test_a_second_pass_records_only_what_has_changed(trail, recorded, tmp_path):
    """The next epoch sees the same files; the one that is another one now is another asset."""
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    loader = trail.ingesting(sorted(tmp_path.iterdir()), rights="owned")
    with trail.acting_for("emp-7"):
        list(loader)
        (tmp_path / "b").write_bytes(b"another")
        list(loader)
    assert recorded.types == ["INGEST"] * 3
    assert len(set(loader.asset_ids)) == 3


def test_what_was_loaded_can_be_named_as_the_input_of_a_training(trail, tmp_path):
    """Count and manifest: a line for each asset."""
    (tmp_path / "a").write_bytes(b"a")
    loader = trail.ingesting([str(tmp_path / "a")], rights="owned")
    with trail.acting_for("emp-7"):
        list(loader)
    line = canonical.encode({"asset": loader.asset_ids[0], "sha256": _digest(b"a")}) + b"\n"
    assert loader.input("portraits") == {
        "dataset_id": "portraits",
        "manifest_digest": _digest(line),
        "count": 1,
    }


def test_without_a_ledger_nothing_is_handed_on(nobody):
    seen = []
    with nobody.acting_for("emp-7"), pytest.raises(AuditUnavailable):
        seen.extend(nobody.ingesting([b"a", b"b"], rights="owned"))
    assert seen == []
