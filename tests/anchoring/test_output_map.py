# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of a range's outputs: what was put out is in it, and nothing else is."""

from hashlib import sha256

import pytest
from house import attempt, export, gen

from anchoring.output_map import keep_map, output_map
from anchoring.overdue import Sweep
from anchoring.sparse_store import SparseStore
from ledger import clock
from sealtrail.verify.sparse import BYTES, PIXELS, check_absent, check_present, position_value

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

DAY = "2026-01-14"


def output(name, **more):
    digest = f"sha256:{sha256(name).hexdigest()}"
    return {"asset_id": name.decode(), "mime": "image/png", "sha256": digest, **more}


def generation(name, **changes):
    """An attempt and its GEN, whose one output has these bytes."""
    start = attempt()
    return start, gen(start["aggregate_id"], body={"outputs": [output(name)]}, **changes)


def walk(house, tag, name, size):
    store = SparseStore(house.book)
    tree = keep_map(house.book, DAY[:4], 0, size)
    key = store.salt(tree.salt_id).key(tag, sha256(name).digest())
    return tree, key, store.walk(tree, key)


def test_what_was_put_out_leads_to_its_entry(noon):
    """The digest of an output is at its place, with the position of the GEN."""
    noon.post(*generation(b"one"), *generation(b"two"))

    tree, key, found = walk(noon, BYTES, b"two", 4)

    assert found.found == 3
    check_present(tree.root, key, position_value(3), found.siblings)


def test_what_was_not_put_out_is_absent(noon):
    """Other bytes, and the same digest as one of pixels, are at places where nothing is."""
    noon.post(*generation(b"one"), *generation(b"two"))

    for tag, name in ((BYTES, b"three"), (PIXELS, b"one")):
        tree, key, found = walk(noon, tag, name, 4)
        assert found.found is None
        check_absent(tree.root, key, found.path)


def test_what_left_the_house_in_other_bytes_is_there_too(noon):
    """An EXPORT with the marking in it has bytes that no GEN named."""
    marked = {"asset_id": "one", "asset_sha256": output(b"marked")["sha256"]}
    leaving = export("one", body={**marked, "destination": {"type": "DELIVERY"}})
    noon.post(*generation(b"one"), leaving)

    assert walk(noon, BYTES, b"marked", 3)[2].found == 2
    assert walk(noon, BYTES, b"one", 3)[2].found == 1


def test_what_was_put_out_twice_leads_to_the_first_time(noon):
    """One digest has one place, and the first entry is the one that tells since when."""
    start, outcome = generation(b"one")
    again, copy = generation(b"one")
    copy["body"]["outputs"][0]["asset_id"] = "copy-of-one"
    noon.post(start, outcome, again, copy)

    assert walk(noon, BYTES, b"one", 4)[2].found == 1


def test_an_output_that_came_too_late_is_there_too(noon):
    """The ledger had closed its attempt; the model answered all the same."""
    start, outcome = generation(b"late")
    noon.post(start)
    assert Sweep(noon.book).run(noon.now_ms() + clock.DAY_MS) == 1
    noon.post(outcome)

    assert walk(noon, BYTES, b"late", 3)[2].found == 2


def test_a_sealed_digest_is_read_through_the_vault(noon):
    """In a private tenant the digest is committed; its key in the tree is all that is kept."""
    start, outcome = generation(b"private")
    digest = outcome["body"]["outputs"][0].pop("sha256")
    noon.post(start, {**outcome, "sealed": {"outputs[0].sha256": digest}})

    assert walk(noon, BYTES, b"private", 2)[2].found == 1


def test_the_report_tells_the_root_and_the_same_again(noon):
    """Made once: a second call gives the same map, which was kept before the first returned."""
    noon.post(*generation(b"one"), *generation(b"two"))

    told = output_map(noon.book, DAY, 0, 4)

    assert told == output_map(noon.book, DAY, 0, 4)
    assert told["count"] == 2
    assert set(told) == {"root", "salt_commit", "count"}


def erase(house, person_id):
    vault = house.book.vault
    vault.begin_erasure(vault.subject_of(person_id).ref, "an-erasure")


def test_erasing_a_person_takes_no_output_out_of_a_map(noon):
    """The digest is readable no more; who has the file itself still finds it, and is told so."""
    start, outcome = generation(b"private")
    digest = outcome["body"]["outputs"][0].pop("sha256")
    noon.post(start, {**outcome, "sealed": {"outputs[0].sha256": digest}})
    before = output_map(noon.book, DAY, 0, 2)

    erase(noon, "employee-7")

    assert output_map(noon.book, DAY, 0, 2) == before
    assert walk(noon, BYTES, b"private", 2)[2].found == 1


def test_what_was_erased_before_is_counted_as_missing(noon):
    """Nobody can say that it is not among these; the map says how many they are."""
    start, outcome = generation(b"private")
    digest = outcome["body"]["outputs"][0].pop("sha256")
    noon.post(start, {**outcome, "sealed": {"outputs[0].sha256": digest}})
    erase(noon, "employee-7")

    told = output_map(noon.book, DAY, 0, 2)

    assert (told["count"], told["missing"]) == (0, 1)
