# SPDX-License-Identifier: GPL-3.0-or-later
"""What the archive is told: holds of the log on its objects, and what may go after its date."""

import pytest
from archiving import digest_of, gallery_in, picture
from house import Hand, house_in, noon_before

from ledger.archive.directory import DirectoryArchive
from ledger.archive.store import ArchiveLocked
from ledger.archive.upkeep import Upkeep
from ledger.holds import Holds

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

IMAGE = picture(120, 80, seed=41)
OTHER = picture(120, 80, seed=42)
BY = {"matter": "case-7-o-12", "authority": "lg-hamburg"}


@pytest.fixture
def gallery(pattern, tmp_path):
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(3))) as house:
        later = Hand(house.now_ms())  # The archive's own clock, for what happens in years.
        made = gallery_in(house, DirectoryArchive(tmp_path / "archive", now_ms=later))
        made.later = later
        yield made


def upkeep(gallery):
    return Upkeep(gallery.house.book, gallery.archive, now_ms=gallery.house.now_ms)


def held(gallery, one):
    return gallery.archive.stat(one.object).held


@pytest.mark.parametrize("by", ["event", "content", "object", "person", "query"])
def test_a_hold_of_the_log_is_put_on_its_objects_and_taken_off(gallery, by):
    """However it names them; others stay as they are, and nothing is done twice."""
    one, other = gallery.stored(IMAGE), gallery.stored(OTHER)
    scope = {
        "event": {"event_ids": [one.event_id]},
        "content": {"artifacts": [digest_of(IMAGE)]},
        "object": {"artifacts": [f"sha256:{one.object}"]},
        "person": {"subjects": [str(one.subject_ref)]},
        "query": {"query": {"types": ["GEN"]}},
    }[by]
    both = by in {"person", "query"}  # The same person asked for both.
    holds = Holds.of(gallery.house.book)
    assert upkeep(gallery).follow_holds() == 0

    hold = holds.apply(scope, **BY)

    assert upkeep(gallery).follow_holds() == (2 if both else 1)
    assert upkeep(gallery).follow_holds() == 0
    assert (held(gallery, one), held(gallery, other)) == (True, both)
    gallery.later.move(days=200)
    with pytest.raises(ArchiveLocked):
        gallery.archive.delete(one.object)

    holds.release(hold.hold_id, authority="lg-hamburg")
    assert upkeep(gallery).follow_holds() == (2 if both else 1)
    assert not held(gallery, one)


def test_what_was_erased_is_deleted_after_its_date_unless_it_is_held(gallery):
    """Until then it lies there without a key; a hold keeps even that."""
    free, kept = gallery.stored(IMAGE), gallery.stored(OTHER)
    holds = Holds.of(gallery.house.book)
    with gallery.house.database.duty(gallery.house.schema, "retain") as connection:
        gallery.artifacts.rows.clear(connection, "erased", [free.artifact_id, kept.artifact_id])
    hold = holds.apply({"event_ids": [kept.event_id]}, **BY)

    assert upkeep(gallery).bury() == 0
    gallery.later.move(days=184)
    assert upkeep(gallery).bury() == 1
    assert upkeep(gallery).bury() == 0
    assert set(gallery.archive.names()) == {kept.object}

    holds.release(hold.hold_id, authority="lg-hamburg")
    assert upkeep(gallery).bury() == 1
    assert set(gallery.archive.names()) == set()


def test_what_is_readable_is_never_buried(gallery):
    """Only what has no key any more, however old."""
    one = gallery.stored(IMAGE)
    gallery.later.move(days=4_000)

    assert upkeep(gallery).bury() == 0
    assert b"".join(gallery.artifacts.content(one)) == IMAGE
