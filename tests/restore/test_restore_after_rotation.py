# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore of a log that has changed its key: each of its keys ends, and none is forgotten."""

import pytest
from house import attempt
from restoring import accept, as_file, backup_of, look, post
from rotating import Rotating

from anchoring.checkpoint import verifier_keys
from anchoring.fsck import Fsck
from anchoring.restored_receipt import judge_receipt
from ledger.errors import HistoryRewritten
from ledger.keys import KeyDestroyed, is_closed, log_key
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.mark.parametrize("ended", [False, True])
def test_a_rotated_log_is_restored_like_any_other(house, ended):
    """During the overlap and after it: receipts under the old key, both, and the new one count."""
    rotating = Rotating(house)
    (before,) = post(house, attempt())
    rotating.begin()
    if ended:
        rotating.rotation().end()
    (kept,) = post(house, attempt())
    with backup_of(house) as backup:
        (lost,) = post(house, attempt())
        old = house.origin
        house.shelf.close()
        backup.restore()
    with pytest.raises(HistoryRewritten):
        house.second_process().book(house.tenant)

    found = look(house)
    accept(house)
    house.reopen()
    (after,) = post(house, attempt())

    assert found.verdict == "behind"
    assert is_closed(house.keys, old)
    for generation in (1, 2):
        with pytest.raises(KeyDestroyed):
            house.shelf.keys.sign(log_key(old, generation), b"m")
    verdicts = [judge_receipt(as_file(one), [house.book]).verdict for one in (before, kept, lost)]
    assert verdicts == ["in the log", "in the log", "orphaned by restore"]
    trust = Trust.parse((house.directory / "trust.json").read_bytes())
    assert set(verifier_keys(house.keys, old)) <= set(trust.origins[old])
    assert len(trust.until) == 1
    assert after.origin in trust.origins
    assert not Fsck(house.book).run().damage


def test_an_origin_whose_first_key_was_replaced_is_not_taken_for_closed(house):
    """A destroyed first key alone is the end of a rotation, and no restore."""
    rotating = Rotating(house)
    post(house, attempt())
    rotating.begin(0)
    rotating.rotation().end()

    house.reopen()
    post(house, attempt())

    assert not is_closed(house.keys, house.origin)
    assert look(house).verdict == "extends"
