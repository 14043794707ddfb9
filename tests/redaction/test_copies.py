# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies beside the originals: made from them, searched, and gone with their persons."""

import json
import threading

import pytest
from house import attempt, deny

from ledger.commitments import commit_values
from ledger.errors import MalformedEvent
from ledger.holds import Holds
from ledger.redaction.copies import Copies, terms_of
from ledger.redaction.follower import Follower
from ledger.vault.construction import SealedValueDamaged
from ledger.vault.ring import KeyRing
from sealtrail.verify.disclosure import PERSON, digest

PROMPT = "a lighthouse for erika@example.org, by the sea"


def follower(house):
    return Follower(house.database, house.book.vault, house.schema)


def search(house, query, *, before=None, limit=10, budget_s=30.0):
    ring = KeyRing(house.keys, schema=house.schema, origin=house.origin)
    copies = Copies(house.database, ring)
    return copies.search(terms_of(query), before=before, limit=limit, budget_s=budget_s)


def found(house, query, **options):
    return [one.text for one in search(house, query, **options).found]


def asked(prompt=PROMPT, person="employee-7", **sealed):
    return attempt(on_behalf_of=person, sealed={"prompt.user": prompt, **sealed})


def rules(house, **members):
    with house.owner() as owner:
        owner.execute(
            f"INSERT INTO {house.schema}.redaction_rules (version, rules) SELECT"
            f" coalesce(max(version), 0) + 1, %s FROM {house.schema}.redaction_rules",
            [json.dumps({"v": 1, **members})],
        )


def test_a_prompt_can_be_searched_without_what_names_a_person(house):
    """Words in any order and case; what was hidden finds nothing."""
    start = asked()
    house.post(start)

    done = follower(house).run()

    (copy,) = search(house, 'SEA "a Lighthouse"').found
    assert (done.copies, done.withheld, done.behind) == (1, 0, 0)
    assert copy.text == "a lighthouse for [EMAIL_ADDRESS], by the sea"
    assert (copy.event_id, copy.field) == (start["event_id"], "prompt.user")
    assert found(house, "erika") == []
    assert found(house, "lighthouse harbour") == []


def test_the_original_stays_whatever_became_of_the_attempt(house):
    """Denied by moderation: the copy is beside the sealed prompt, never instead of it."""
    start = asked()
    house.post(start)
    house.post(deny(start["aggregate_id"]))
    follower(house).run()

    opened = house.book.vault.open(start["event_id"])

    assert opened.values["prompt.user"] == PROMPT
    assert len(found(house, "lighthouse")) == 1


def test_until_it_is_redacted_nothing_of_a_prompt_is_found(house):
    """And the search says how much it has not seen."""
    house.post(asked(), asked("another lighthouse"))

    page = search(house, "lighthouse")

    assert (page.found, page.behind) == ((), 2)


def test_nothing_of_a_copy_lies_in_clear(house):
    """Not in the table, and bound to its place: one person's copy opens as nobody else's."""
    house.post(asked(), asked("a quiet harbour", "employee-8"))
    follower(house).run()
    with house.owner() as owner:
        table = f"{house.schema}.redacted"
        blobs = [bytes(blob) for (blob,) in owner.execute(f"SELECT blob FROM {table}")]
        owner.execute(f"UPDATE {table} SET blob = %s WHERE blob = %s", [blobs[0], blobs[1]])

    assert len(blobs) == 2
    assert not any(word in blob for blob in blobs for word in (b"lighthouse", b"harbour"))
    with pytest.raises(SealedValueDamaged):
        search(house, "harbour")


def test_a_copy_goes_with_its_person(house):
    """Unreadable from the request on, and its row is gone when the erasure is complete."""
    house.post(asked(), asked("a lighthouse for somebody else", "employee-8"))
    follower(house).run()
    vault = house.book.vault

    vault.begin_erasure(vault.subject_of("employee-7").ref, "erasure-1")
    pending = found(house, "lighthouse")
    vault.finish_erasures(Holds.of(house.book))

    assert pending == ["a lighthouse for somebody else"]
    assert found(house, "lighthouse") == pending
    with house.owner() as owner:
        query = f"SELECT count(*) FROM {house.schema}.redacted"
        assert owner.execute(query).fetchone() == (1,)
    assert follower(house).run().copies == 0


def test_a_copy_made_while_its_person_was_erased_is_tidied_away(house):
    """The original went between the look at it and the copy."""
    house.post(asked())
    follower(house).run()
    with house.owner() as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(f"UPDATE {house.schema}.sealed SET wrapped_key = NULL, blob = NULL")

    assert found(house, "lighthouse") == []
    assert follower(house).tidy() == 1


def test_new_rules_begin_again_and_older_copies_are_not_searched(house):
    """A term that is hidden from today on is not found in yesterday's copies, redone or not."""
    house.post(asked("a lighthouse for Project Nightingale"))
    follower(house).run()
    assert len(found(house, "nightingale")) == 1
    rules(house, terms=["Project Nightingale"])

    before = search(house, "nightingale")
    follower(house).run()

    assert (before.found, before.behind) == ((), 1)
    assert found(house, "nightingale") == []
    assert found(house, "lighthouse") == ["a lighthouse for [TERM]"]


def test_a_prompt_that_cannot_be_redacted_in_time_is_withheld_and_tried_again(house, monkeypatch):
    """It is not shown, it holds up nobody, and it is there once there is time."""
    house.post(asked("lighthouse " * 2_000))
    with monkeypatch.context() as slow:
        slow.setattr("ledger.redaction.detector._PATTERN_S", 1e-9)
        held = follower(house).run()
        hidden = found(house, "lighthouse")

    again = follower(house).run()

    assert (held.withheld, held.behind, hidden) == (1, 0, [])
    assert (again.copies, again.withheld) == (1, 0)
    assert len(found(house, "lighthouse")) == 1


def test_killed_between_two_batches_it_goes_on_where_it_was(house, monkeypatch):
    """Every prompt has one copy, none is left out."""
    monkeypatch.setattr("ledger.redaction.follower._BATCH", 3)
    house.post(*[asked(f"lighthouse number {n}") for n in range(8)])
    follower(house).run(budget_s=0)  # One batch; then the process is gone.

    first = found(house, "lighthouse", limit=100)
    follower(house).run()

    assert len(first) == 3
    assert sorted(found(house, "lighthouse", limit=100)) == [
        f"lighthouse number {n}" for n in range(8)
    ]


def test_two_followers_do_not_do_the_same_work(house):
    """The second finds the row locked and leaves it to the first."""
    house.post(asked())
    with house.owner() as owner, owner.transaction():
        owner.execute(f"SELECT 1 FROM {house.schema}.redaction_state FOR UPDATE")

        done = follower(house).run()

    assert done.busy
    assert follower(house).run().copies == 1


def test_pages_hold_each_copy_once(house):
    """Newest first, all fields of one event on one page; a search that ran out of time says so."""
    house.post(
        *[asked(f"lighthouse {n}", **{"prompt.negative": "lighthouse fog"}) for n in range(5)]
    )
    follower(house).run()

    seen, before = [], None
    while True:
        page = search(house, "lighthouse", before=before, limit=3)
        seen += [(one.position, one.field) for one in page.found]
        before = page.before
        if before is None:
            break

    assert len(seen) == len(set(seen)) == 10
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("query", ["", "a", '""', "x " * 11, "y" * 201])
def test_a_search_for_almost_nothing_is_refused(query):
    """It would be a way to read everything; the query is not quoted back."""
    with pytest.raises(MalformedEvent) as caught:
        terms_of(query)

    assert caught.value.errors[0].pointer == "/query/q"


def test_producer_custody_leaves_nothing_to_search(house):
    """The client keeps the disclosures; there is no original here, and so no copy."""
    start = asked()
    values = {PERSON: start.pop("on_behalf_of"), **start.pop("sealed")}
    digests, disclosures = commit_values(bytes(32), values)
    del start["record_key"]
    house.post({**start, "_sd": digests, "person_digest": digest(disclosures[PERSON])})

    assert follower(house).run().copies == 0


def test_writers_go_on_while_copies_are_made(house, monkeypatch):
    """The follower takes no lock that a commit waits for."""
    monkeypatch.setattr("ledger.redaction.follower._BATCH", 2)
    house.post(*[asked(f"lighthouse {n}") for n in range(6)])
    thread = threading.Thread(target=lambda: follower(house).run())
    thread.start()

    house.post(*[asked(f"harbour {n}") for n in range(6)])
    thread.join()
    follower(house).run()

    assert len(found(house, "lighthouse", limit=50)) == 6
    assert len(found(house, "harbour", limit=50)) == 6
