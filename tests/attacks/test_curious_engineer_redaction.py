# SPDX-License-Identifier: GPL-3.0-or-later
"""The copies of prompts that auditors search are one more place where a prompt could lie around:
the same curious people look into tables, files and logs for them, and try what a search gives away.
"""

import json
import logging
from pathlib import Path

import psycopg
import pytest
from house import attempt, house_in

from ledger.embedded import EmbeddedPostgres
from ledger.errors import MalformedEvent
from ledger.holds import Holds
from ledger.keys import KeyDestroyed
from ledger.redaction.copies import Copies, bound_to, terms_of
from ledger.redaction.follower import Follower
from ledger.redaction.standing import publish
from ledger.vault.construction import SealedValueDamaged, unwrap_other
from ledger.vault.ring import KeyRing

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PROMPT = "the ferryman of lake bolsena, write to ferryman@bolsena.example"
COPY = "the ferryman of lake bolsena, write to [EMAIL_ADDRESS]"


@pytest.fixture
def copied(house):
    """One person's prompt, copied and found once."""
    house.start = attempt(sealed={"prompt.user": PROMPT}, on_behalf_of="employee-7")
    house.post(house.start)
    follower(house).run()
    assert found(house, "ferryman") == [COPY]
    return house


def follower(house):
    return Follower(house.database, house.book.vault, house.schema)


def ring(house):
    return KeyRing(house.keys, schema=house.schema, origin=house.origin)


def found(house, query):
    page = Copies(house.database, ring(house)).search(
        terms_of(query), before=None, limit=10, budget_s=30
    )
    return [one.text for one in page.found]


def row_of(house):
    with house.owner() as owner:
        return owner.execute(
            f"SELECT r.event_id, r.subject_ref, r.blob, s.generation, s.wrapped_key"
            f" FROM {house.schema}.redacted r JOIN {house.schema}.subject s"
            " ON s.ref = r.subject_ref"
        ).fetchone()


def test_looks_for_a_copy_in_every_file_of_the_database(tmp_path):
    """Who: an engineer with the database's directory, its write-ahead log included.
    Tries: to find words of a prompt, as it was or redacted, after it was copied and searched for.
    Caught by: nothing has to: a copy is sealed under its person's key before it is stored, and no
    index of words exists.
    Not caught: how long a prompt is, and when it was recorded.
    """
    with EmbeddedPostgres(tmp_path / "server") as postgres:
        with house_in(postgres, tmp_path / "house") as house:
            house.post(attempt(sealed={"prompt.user": PROMPT}))
            follower(house).run()
            assert found(house, "ferryman") == [COPY]
            with house.owner() as owner:
                owner.execute("CHECKPOINT")
        files = [path for path in Path(tmp_path).rglob("*") if path.is_file()]
        data = b"".join(path.read_bytes() for path in files)

    assert b"GEN_ATTEMPT" in data
    assert not any(word in data for word in (b"ferryman", b"bolsena", b"EMAIL_ADDRESS"))


def test_asks_the_search_what_was_hidden(copied):
    """Who: an auditor who may search copies, and not read this person's prompt.
    Tries: to find the copy by what was replaced in it, letter by letter.
    Caught by: the search sees the copy alone.
    Not caught: that an address was there; what no pattern knows, such as a name, stays readable.
    """
    assert found(copied, "ferryman@bolsena.example") == []
    assert found(copied, "bolsena.example") == []
    assert found(copied, "[EMAIL_ADDRESS]") == [COPY]


def test_keeps_a_copy_and_the_wrapped_key_of_one_who_is_erased(copied):
    """Who: an engineer who saved the rows of copy and subject before the erasure, and has every
    present key.
    Tries: to open the copy afterwards.
    Caught by: the generation that wrapped that person's key, which is destroyed.
    Not caught: whoever opened it before the erasure has read it; that look is in the access Book.
    """
    event_id, ref, blob, generation, wrapped = row_of(copied)
    vault = copied.book.vault
    before = unwrap_other(
        ring(copied).unwrap(ref.bytes, generation, bytes(wrapped)),
        bytes(blob),
        ref=ref.bytes,
        aad=bound_to(event_id, "prompt.user"),
    )
    vault.begin_erasure(ref, "erasure-1")
    vault.finish_erasures(Holds.of(copied.book))

    assert before.decode() == COPY
    with pytest.raises(KeyDestroyed):
        ring(copied).unwrap(ref.bytes, generation, bytes(wrapped))
    assert found(copied, "ferryman") == []
    assert row_of(copied) is None


def test_moves_a_copy_to_another_entry(copied):
    """Who: an administrator who would like a harmless entry to be found by a word of his.
    Tries: to put one event's copy under the name of another event of the same person.
    Caught by: the copy, which is bound to its event and field: the search stops, and says so.
    Not caught: a copy that is removed is missed by nobody until the rules change; the original and
    its entry are still there.
    """
    copied.post(attempt(sealed={"prompt.user": "nothing at all"}, on_behalf_of="employee-7"))
    follower(copied).run()
    with copied.owner() as owner:
        table = f"{copied.schema}.redacted"
        rows = owner.execute(f"SELECT event_id, blob FROM {table} ORDER BY position").fetchall()
        change = f"UPDATE {table} SET blob = %s WHERE event_id = %s"
        owner.execute(change, [rows[0][1], rows[1][0]])

    with pytest.raises(SealedValueDamaged):
        found(copied, "ferryman")


def test_hides_an_address_from_the_patterns(house):
    """Who: somebody who wants a customer's address to be found in copies.
    Tries: to write it with invisible, wide and joined characters that no pattern expects.
    Caught by: the text is folded before anything is looked for in it.
    Not caught: an address in words ("at", "dot"), in another script, or over two fields.
    """
    tricks = ["x\u200by@exam\u200bple.org", "\uff58y@example.org", "xy@example\u2024org"]
    house.post(*[attempt(sealed={"prompt.user": f"mail {trick} end"}) for trick in tricks])
    follower(house).run()

    assert found(house, "mail") == ["mail [EMAIL_ADDRESS] end"] * 3


def test_sends_a_prompt_that_makes_a_pattern_slow(house, monkeypatch):
    """Who: a pipeline that wants its prompts, or those after them, to be left as they are.
    Tries: a prompt on which a pattern runs for minutes; a library that gives up on a pattern and
    goes on would call the rest redacted.
    Caught by: the follower's own time: such a text has no copy, and the next one has.
    Not caught: a prompt that is withheld cannot be searched, which `redaction status` counts.
    """
    monkeypatch.setattr("ledger.redaction.detector._TEXT_S", 0.5)  # Eight times as impatient.
    slow = "a." * 32_000 + "x@example.org ferryman"
    house.post(attempt(sealed={"prompt.user": slow}), attempt(sealed={"prompt.user": PROMPT}))

    done = follower(house).run()

    assert (done.withheld, done.behind) == (1, 0)
    assert found(house, "ferryman") == [COPY]


def test_publishes_rules_that_never_end(house):
    """Who: a tenant's administrator, or whoever may write to the file of rules.
    Tries: a pattern that takes exponential time, and rules as the servers' own role.
    Caught by: the grammar of patterns, which has no unbounded repetition; the database, in which
    only the owner may publish rules.
    Not caught: rules that hide nothing are the tenant's right; they are kept, version by version.
    """
    rules = json.dumps({"v": 1, "patterns": {"BOMB": "(a+)+b"}}).encode()
    with house.owner() as owner, pytest.raises(MalformedEvent):
        publish(owner, house.schema, rules)

    for duty in ("append", "read", "retain"):
        with (
            house.database.duty(house.schema, duty) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(
                f"INSERT INTO {house.schema}.redaction_rules (version, rules) VALUES (1, '{{}}')"
            )


def test_reads_the_most_talkative_log_of_follower_and_search(house, caplog):
    """Who: an engineer who sets every logger to debug, those of libraries included.
    Tries: to read prompts in what follower, library and search log.
    Caught by: nothing of a text is logged; the library's logger is off.
    Not caught: nothing is left open.
    """
    with caplog.at_level(logging.DEBUG):
        house.post(attempt(sealed={"prompt.user": PROMPT}))
        follower(house).run()
        found(house, "ferryman")

    assert not any(word in caplog.text for word in ("ferryman", "bolsena"))
