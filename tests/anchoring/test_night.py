# SPDX-License-Identifier: GPL-3.0-or-later
"""The night: every closed day is reported, agreed on twice, stamped and anchored, if late."""

import dataclasses
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from administrator import administrator
from house import Hand, attempt, gen, house_in, noon_before

from anchoring.anchors import Anchors
from anchoring.authority import LocalAuthority, make_authority
from anchoring.checkpoint import verifier_key
from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.second_opinion import TreeDisagrees
from ledger import clock
from ledger.errors import EntryDamaged, IntegrityViolation, Unavailable
from ledger.outcome import Recorded
from sealtrail.verify.merkle import EMPTY_ROOT, check_consistency, leaf_hash, tree_root
from sealtrail.verify.note import open_checkpoint
from sealtrail.verify.timestamp import certificates_from_pem, check_stamp

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

FAR = 10**10  #: A jump of the clock that needs no operator, in ms.


@pytest.fixture
def tsa(authority):
    return authority.authority()


@pytest.fixture
def silent(tsa):
    """An authority that nobody can reach: port 9 of this host discards."""
    return dataclasses.replace(tsa, name="silent", url="http://127.0.0.1:9/")


@pytest.fixture
def week(pattern, tmp_path):
    """A house whose clock stands at noon, six days ago, and may jump."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(6)), jump_ms=FAR) as made:
        yield made


def day(ms):
    return clock.day_of(ms)


def bodies(house, type_):
    """Return the bodies of every entry of a rare type, oldest first."""
    return [one.entry.value["body"] for one in house.book.reader.of_topic(f"{type_}/1")][::-1]


def digest(data):
    return f"sha256:{data.hex()}"


def run(house, *authorities, quorum=1):
    return list(Night(house.book, authorities, quorum=quorum).catch_up(house.now_ms()))


def test_a_closed_day_is_reported_and_anchored(noon, tsa):
    """One report, one ANCHOR; what is stamped is a checkpoint over all that is said of the day."""
    start = attempt()
    noon.post(start, gen(start["aggregate_id"]), attempt())
    leaves = [noon.book.reader.at(n).leaf for n in range(3)]
    today = day(noon.now_ms())
    noon.now_ms.move(hours=12, seconds=300)

    (step,) = run(noon, tsa)

    assert (step.anchor_id, step.recorded, step.missing) == (f"day/{today}", True, [])
    (report,), (anchor,) = bodies(noon, "COMPLETENESS_REPORT"), bodies(noon, "ANCHOR")
    assert (report["from_size"], report["to_size"]) == (0, 3)
    assert (anchor["from_size"], anchor["to_size"], anchor["size_d"]) == (0, 3, 3)
    assert anchor["day_root"] == digest(tree_root(leaves))
    assert anchor["checkpoint"]["size"] == step.size == 5  # EPOCH_SEALED and the report are in it.
    assert "previous" not in anchor
    (kept,) = Anchors(noon.book).of_day(today)
    note = kept["checkpoint"].encode()
    _, checkpoint = open_checkpoint(
        note, origin=noon.origin, keys=[verifier_key(noon.keys, noon.origin)]
    )
    assert digest(hashlib.sha256(note).digest()) == anchor["checkpoint"]["digest"]
    assert digest(checkpoint.root) == anchor["checkpoint"]["root"]
    (token,) = Anchors(noon.book).tokens(step.anchor_id)
    check_stamp(token.reply, message=note, roots=tsa.roots)
    assert Fsck(noon.book, first_key=noon.first_key()).run().damage == []


def test_the_night_is_safe_to_repeat(noon, tsa):
    """A second run finds nothing to do and writes nothing."""
    noon.post(attempt())
    noon.now_ms.move(days=1)
    run(noon, tsa)
    size = noon.book.reader.head().size

    assert run(noon, tsa) == []
    assert noon.book.reader.head().size == size
    assert Night(noon.book, []).missing_days(noon.now_ms()) == []


def test_missed_days_are_caught_up_one_by_one(week, tsa):
    """Entries on two of five days: five anchors in order, the silent days asserted, too."""
    week.post(attempt(), attempt())
    first = week.now_ms()
    week.now_ms.move(days=3)
    week.post(attempt())
    week.now_ms.move(days=2)

    steps = run(week, tsa)

    days = [day(first + n * clock.DAY_MS) for n in range(5)]
    assert [step.anchor_id for step in steps] == [f"day/{one}" for one in days]
    anchors, reports = bodies(week, "ANCHOR"), bodies(week, "COMPLETENESS_REPORT")
    assert [one["day"] for one in anchors] == [one["day"] for one in reports] == days
    ranges = [(one["from_size"], one["to_size"]) for one in anchors]
    assert ranges == [(0, 2), (2, 2), (2, 2), (2, 4), (4, 4)]
    empty = [one["day_root"] == digest(EMPTY_ROOT) for one in anchors]
    assert empty == [False, True, True, False, True]
    assert [one["number"] for one in reports] == [1, 2, 3, 4, 5]
    assert Fsck(week.book, first_key=week.first_key()).run().damage == []


def test_each_anchor_is_proved_to_extend_the_one_before(week, tsa):
    """The path is in the entry: whoever trusts one stamped checkpoint can trust the next."""
    for _ in range(3):
        week.post(*[attempt() for _ in range(4)])
        week.now_ms.move(days=1)
        run(week, tsa)

    anchors = bodies(week, "ANCHOR")

    assert len(anchors) == 3
    for before, after in itertools.pairwise(anchors):
        assert after["previous"]["size"] == before["checkpoint"]["size"]
        check_consistency(
            old_size=before["checkpoint"]["size"],
            old_root=bytes.fromhex(before["checkpoint"]["root"][7:]),
            new_size=after["checkpoint"]["size"],
            new_root=bytes.fromhex(after["checkpoint"]["root"][7:]),
            path=[bytes.fromhex(node[7:]) for node in after["consistency"]],
        )


def test_an_interim_anchor_closes_no_day(noon, tsa):
    """Twice in a day, then the night: its range is the whole day all the same."""
    noon.post(attempt(), attempt())
    night = Night(noon.book, [tsa])
    one = night.interim()
    noon.post(attempt())
    two = night.interim()
    noon.now_ms.move(days=1)
    (three,) = run(noon, tsa)

    anchors = bodies(noon, "ANCHOR")
    assert [one["kind"] for one in anchors] == ["interim", "interim", "day"]
    assert [(a["from_size"], a["to_size"]) for a in anchors] == [(0, 2), (2, 4), (0, 5)]
    assert (one.anchor_id, two.anchor_id) == ("interim/2", "interim/4")
    assert "size_d" not in anchors[0]
    assert anchors[2]["size_d"] == 5
    assert three.recorded
    listed = Anchors(noon.book).of_day(anchors[0]["day"])
    assert [one["kind"] for one in listed] == ["interim", "interim", "day"]
    assert all(one["recorded"] for one in listed)
    assert Fsck(noon.book, first_key=noon.first_key()).run().damage == []


def test_a_silent_authority_is_recorded_once_and_asked_again_with_the_same_bytes(week, tsa, silent):
    """Three nights without an answer, ingest unharmed; then all is anchored, late but whole."""
    down = dataclasses.replace(tsa, url=silent.url)
    week.post(attempt())
    stamped = []
    for _ in range(3):
        week.now_ms.move(days=1)
        steps = run(week, down)
        assert not any(step.recorded for step in steps)
        assert all(step.missing == [tsa.name] for step in steps)
        assert isinstance(week.post(attempt())[0], Recorded)
        stamped.append({one.anchor_id: one.stamped for one in Anchors(week.book).open("day")})
    failures = bodies(week, "ANCHOR_FAILED")
    reports = bodies(week, "COMPLETENESS_REPORT")

    steps = run(week, tsa)

    assert [len(one) for one in stamped] == [1, 2, 3]
    assert stamped[0].items() <= stamped[1].items() <= stamped[2].items()
    assert [one["anchor"] for one in failures] == sorted(stamped[2])
    assert {one["authority"] for one in failures} == {tsa.name}
    assert len(reports) == 3
    assert [step.anchor_id for step in steps] == sorted(stamped[2])
    assert all(step.recorded for step in steps)
    assert len(bodies(week, "ANCHOR_FAILED")) == 3
    for anchor_id, note in stamped[2].items():
        (token,) = Anchors(week.book).tokens(anchor_id)
        assert hashlib.sha256(note).digest() in token.query
    assert Fsck(week.book, first_key=week.first_key()).run().damage == []


def test_with_a_quorum_of_two_both_must_answer(noon, tsa, silent):
    """One token is kept while the other is missing, and is not asked for again."""
    noon.post(attempt())
    noon.now_ms.move(days=1)
    other = dataclasses.replace(tsa, name="another")
    (first,) = run(noon, tsa, dataclasses.replace(other, url=silent.url), quorum=2)
    (kept,) = Anchors(noon.book).tokens(first.anchor_id)

    (second,) = run(noon, tsa, other, quorum=2)

    assert (first.recorded, first.tokens, first.missing) == (False, [tsa.name], ["another"])
    assert (second.recorded, second.missing) == (True, [])
    tokens = {one.authority: one for one in Anchors(noon.book).tokens(first.anchor_id)}
    assert tokens[tsa.name] == kept
    (anchor,) = bodies(noon, "ANCHOR")
    assert {one["authority"]: one["token_digest"] for one in anchor["tokens"]} == {
        name: digest(hashlib.sha256(token.reply).digest()) for name, token in tokens.items()
    }


def test_an_authority_outside_its_pinned_root_is_not_believed(noon, tsa, tmp_path):
    """Its reply is refused by name, recorded once, and anchors nothing."""
    noon.post(attempt())
    noon.now_ms.move(days=1)
    make_authority(tmp_path / "other")
    pinned = LocalAuthority(tmp_path / "other").root_pem
    liar = dataclasses.replace(tsa, name="liar", roots=tuple(certificates_from_pem(pinned)))

    (step,) = run(noon, liar)
    run(noon, liar)

    assert (step.recorded, step.missing) == (False, ["liar"])
    (failure,) = bodies(noon, "ANCHOR_FAILED")
    assert failure["authority"] == "liar"
    assert failure["reason"] not in ("tsa-unavailable", "")


def test_a_night_that_broke_off_goes_on_where_it_was(noon, tsa):
    """After the closing entry, after the report, after the choice: nothing is done twice."""
    noon.post(attempt())
    today = day(noon.now_ms())
    noon.now_ms.move(days=1)
    night = Night(noon.book, [tsa])
    begin, end = night._close(today)
    assert night._close(today) == (begin, end)
    night._reports.provisional(today, begin, end)
    night._reports.provisional(today, begin, end)
    noon.post(attempt())

    (step,) = run(noon, tsa)

    assert step.recorded
    assert len(bodies(noon, "COMPLETENESS_REPORT")) == len(bodies(noon, "ANCHOR")) == 1


def test_two_nights_at_once_anchor_each_day_once(week, tsa):
    """Two schedulers that both think they lead; the streams of the days decide."""
    week.post(attempt())
    week.now_ms.move(days=2)
    books = [week.book, week.second_process().book(week.tenant)]

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda b: list(Night(b, [tsa]).catch_up(week.now_ms())), books))

    assert all(step.recorded for steps in both for step in steps)
    days = [one["day"] for one in bodies(week, "ANCHOR")]
    assert len(days) == len(set(days)) == 2
    assert Fsck(week.book, first_key=week.first_key()).run().damage == []


def test_a_day_is_not_closed_before_it_is_over_by_the_ledgers_clock(noon, tsa):
    """The host that wakes the night is a day ahead; the writer's clock is not."""
    noon.post(attempt())

    with pytest.raises(Unavailable):
        list(Night(noon.book, [tsa]).catch_up(noon.now_ms() + clock.DAY_MS))

    assert bodies(noon, "ANCHOR") == []


# What stops the night


def test_a_body_that_was_changed_before_the_night_is_not_anchored(noon, tsa):
    """The second library hashes the bytes that are there, and they do not give the signed root."""
    noon.post(*[attempt() for _ in range(5)])
    noon.now_ms.move(days=1)
    with administrator(noon) as admin:
        admin.forge(lambda n, entry: entry["body"].update(operation="edit") if n == 2 else None,
                    chain=None)  # fmt: skip

    with pytest.raises(TreeDisagrees):
        run(noon, tsa)

    assert bodies(noon, "ANCHOR") == []


def test_a_body_changed_after_an_interim_anchor_is_not_in_the_days_root(noon, tsa):
    """The log root builds on what was agreed at noon; the day's own root must not slip by."""
    noon.post(*[attempt() for _ in range(5)])
    Night(noon.book, [tsa]).interim()
    with administrator(noon) as admin:
        ((frontier,),) = admin.do("SELECT frontier FROM {b}.head")
        admin.forge(lambda n, entry: entry["body"].update(operation="edit") if n == 2 else None,
                    chain=None)  # fmt: skip
        admin.do("UPDATE {b}.head SET frontier = %s", frontier)
    noon.now_ms.move(days=1)

    with pytest.raises(IntegrityViolation):
        run(noon, tsa)

    assert [one["kind"] for one in bodies(noon, "ANCHOR")] == ["interim"]


def test_a_body_changed_under_a_full_tile_is_not_in_the_days_root(noon, tsa):
    """Bytes and leaf column agree, the tile is the old one, and an anchor lies between."""
    noon.post(*[attempt() for _ in range(260)])
    Night(noon.book, [tsa]).interim()
    with administrator(noon) as admin:
        ((data,),) = admin.do("SELECT bytes FROM {b}.entry_body WHERE position = 2")
        data = data.replace(b'"generate"', b'"inpaint"')
        admin.do("UPDATE {b}.entry_body SET bytes = %s WHERE position = 2", data)
        admin.do("UPDATE {b}.entry SET leaf = %s WHERE position = 2", leaf_hash(data))
    noon.now_ms.move(days=1)

    with pytest.raises(TreeDisagrees):
        run(noon, tsa)


def test_a_changed_time_column_does_not_move_a_day(noon, tsa):
    """The edges of the day are held against the bytes."""
    noon.post(*[attempt() for _ in range(3)])
    noon.now_ms.move(days=1)
    noon.post(attempt())
    with administrator(noon) as admin:
        admin.do("UPDATE {b}.entry SET recorded_at = recorded_at + 86400000 WHERE position = 2")

    with pytest.raises(EntryDamaged):
        run(noon, tsa)


@pytest.mark.parametrize(
    "change",
    [
        "stamped = convert_to(replace(convert_from(stamped, 'UTF8'), 'ledger', 'lodger'), 'UTF8')",
        "root = sha256('x')",
        "frontier = substring(frontier FROM 2)",
        "to_size = to_size - 1",
        "from_size = from_size + 1",
        "day_root = sha256('x')",
    ],
)
def test_what_was_kept_to_be_stamped_must_still_be_our_checkpoint(noon, silent, tsa, change):
    """Between two tries somebody exchanges the bytes, hoping that the authority stamps them."""
    noon.post(attempt(), attempt())
    noon.now_ms.move(days=1)
    run(noon, silent)
    with administrator(noon) as admin:
        admin.do(f"UPDATE {{b}}.anchor SET {change}")

    with pytest.raises(IntegrityViolation):
        run(noon, tsa)

    assert bodies(noon, "ANCHOR") == []
