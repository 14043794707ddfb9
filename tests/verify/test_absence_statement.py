# SPDX-License-Identifier: GPL-3.0-or-later
"""What a statement says, held against what the entries in it say; without a ledger.

That the entries stand in the log is judged beside this, as in a packet; the attacks on a real one
are in tests/attacks/test_lying_prover.py.
"""

import copy
import json
from hashlib import sha256

import pytest

from sealtrail.verify import base64text
from sealtrail.verify.absence import judge_absence, judge_presence
from sealtrail.verify.anchored import Claim, read_anchored
from sealtrail.verify.errors import Unreadable
from sealtrail.verify.report import Report
from sealtrail.verify.sparse import (
    BYTES,
    PIXELS,
    SparsePath,
    map_leaf,
    map_node,
    member_key,
    position_value,
    salt_commitment,
)
from sealtrail.verify.statement import is_statement, read_statement

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

SALT = sha256(b"a salt").digest()
COMMIT = f"sha256:{salt_commitment(SALT).hex()}"
FILE = b"a picture that was never there"
DIGESTS = {BYTES: sha256(FILE).digest(), PIXELS: sha256(b"its pixels").digest()}
#: The one member, of the entry at position 3.
MEMBER = {BYTES: sha256(b"a member").digest(), PIXELS: sha256(b"its own pixels").digest()}
KEYS = [member_key(SALT, tag, digest) for tag, digest in MEMBER.items()]
LEAVES = {key: map_leaf(key, position_value(3)) for key in KEYS}


def tree():
    """The root over two leaves, and the way to a key: found by looking at each bit."""
    depth = next(d for d in range(256) if len({bit(key, d) for key in KEYS}) == 2)
    left, right = sorted(KEYS, key=lambda key: bit(key, depth))
    root = map_node(LEAVES[left], LEAVES[right])
    for at in reversed(range(depth)):
        root = map_node(bytes(32), root) if bit(left, at) else map_node(root, bytes(32))
    return root, depth


def bit(key, at):
    return key[at // 8] >> (7 - at % 8) & 1


ROOT, DEPTH = tree()


def walk(key):
    siblings = []
    for at in range(DEPTH + 1):
        if at < DEPTH and bit(key, at) != bit(KEYS[0], at):
            inner = map_node(*(LEAVES[one] for one in sorted(KEYS, key=lambda k: bit(k, DEPTH))))
            for deep in reversed(range(at + 1, DEPTH)):
                pair = (bytes(32), inner) if bit(KEYS[0], deep) else (inner, bytes(32))
                inner = map_node(*pair)
            return SparsePath((*siblings, inner), None)
        if at < DEPTH:
            siblings.append(bytes(32))
    near = next(one for one in KEYS if bit(one, DEPTH) == bit(key, DEPTH))
    far = next(one for one in KEYS if one != near)
    end = (near, sha256(position_value(3)).digest())
    return SparsePath((*siblings, LEAVES[far]), end)


def paths(digests):
    return {tag: walk(member_key(SALT, tag, one)).text() for tag, one in digests.items()}


def text(digests):
    return {tag: f"sha256:{one.hex()}" for tag, one in digests.items()}


SEALED = {
    "type": "DATASET_SEALED",
    "body": {
        "dataset": {
            "id": "faces",
            "version": "1",
            "smt_root": f"sha256:{ROOT.hex()}",
            "smt_salt_commit": COMMIT,
        }
    },
}
OUTPUTS = {"root": f"sha256:{ROOT.hex()}", "salt_commit": COMMIT, "count": 2}


def report(day, first, end, **more):
    body = {"kind": "final", "day": day, "from_size": first, "to_size": end, "outputs": OUTPUTS}
    return {"type": "COMPLETENESS_REPORT", "body": body | more}


def rolled(period, first, end):
    body = {"period": period, "from_size": first, "to_size": end, "outputs": OUTPUTS}
    return {"type": "OUTPUTS_ROLLED", "body": body}


def absence(about, positions):
    return {
        "statement": "absence/1",
        "set": about,
        "digests": text(DIGESTS),
        "salts": {COMMIT: base64text.encode(SALT)},
        "proofs": [{"entry": at, "paths": paths(DIGESTS)} for at in positions],
    }


SET = {"dataset": "faces", "version": "1"}


def judged(value, entries, judge=judge_absence, file=None):
    claim = Claim(value=value, entries=entries, file=file)
    judge(claim)
    return Report(
        subject="", findings=tuple(claim.docket.findings), not_checked=tuple(claim.open_points)
    )


def test_what_is_not_in_the_set_is_absent():
    """And with the file at hand, its bytes are those of the statement."""
    found = judged(absence(SET, [5]), {5: SEALED}, file=FILE)

    assert found.verdict == "verified"
    assert found.findings[0].facts["sha256"] == f"sha256:{DIGESTS[BYTES].hex()}"


def test_maps_follow_one_another_up_to_the_day():
    """A year, a month, days; each from where the last one ended."""
    entries = {
        9: rolled("2025", 0, 4),
        12: rolled("2026-01", 4, 4),
        13: rolled("2026-02", 4, 7),
        17: report("2026-03-01", 7, 9),
    }
    until = {"outputs_until": "2026-03-01"}

    assert judged(absence(until, [9, 12, 13, 17]), entries).verdict == "verified"
    for positions in ([12, 13, 17], [9, 13, 12, 17], [9, 17], [9, 12, 13], [9, 9, 12, 13, 17], []):
        assert judged(absence(until, positions), entries).verdict == "refuted"


@pytest.mark.parametrize(
    ("period", "last"),
    [("2024-02", "2024-02-29"), ("2025", "2025-12-31"), ("2025-12", "2025-12-31")],
)
def test_a_period_ends_with_its_last_day(period, last):
    """Leap years and the end of a year, too."""
    entries = {9: rolled(period, 0, 4)}

    assert judged(absence({"outputs_until": last}, [9]), entries).verdict == "verified"
    assert judged(absence({"outputs_until": f"{last[:-1]}8"}, [9]), entries).verdict == "refuted"


@pytest.mark.parametrize("period", ["2026-13", "0000", "x", "2026-1", None])
def test_a_period_that_is_none_is_refuted(period):
    """Whatever an entry of another kind of ledger may say."""
    about = {"outputs_until": "2026-01-31"}

    assert judged(absence(about, [9]), {9: rolled(period, 0, 4)}).verdict == "refuted"


def test_what_could_not_be_read_leaves_the_statement_incomplete():
    """An erased digest may have been this one."""
    entries = {9: report("2026-01-01", 0, 4, outputs={**OUTPUTS, "missing": 1})}

    found = judged(absence({"outputs_until": "2026-01-01"}, [9]), entries)

    assert found.verdict == "incomplete"


WRONG = {
    "no-such-entry": {},
    "another-type": {5: {**SEALED, "type": "DATASET_SUPERSEDED"}},
    "another-set": {
        5: {**SEALED, "body": {"dataset": {**SEALED["body"]["dataset"], "id": "cats"}}}
    },
    "no-set": {5: {**SEALED, "body": {}}},
    "another-root": {
        5: {**SEALED, "body": {"dataset": {**SEALED["body"]["dataset"], "smt_root": COMMIT}}}
    },
    "another-salt": {
        5: {
            **SEALED,
            "body": {
                "dataset": {
                    **SEALED["body"]["dataset"],
                    "smt_salt_commit": f"sha256:{ROOT.hex()}",
                }
            },
        }
    },
    "no-root": {5: {**SEALED, "body": {"dataset": SET | {"id": "faces"}}}},
}


@pytest.mark.parametrize("name", WRONG)
def test_only_the_entry_that_seals_the_set_names_its_root(name):
    """Any other, or one that says something else, and the statement is refuted."""
    assert judged(absence(SET, [5]), WRONG[name]).verdict == "refuted"


FOREIGN = {
    "another-type": {**rolled("2026-01", 0, 4), "type": "EXPORT"},
    "provisional": report("2026-01-31", 0, 4, kind="provisional"),
    "no-map": report("2026-01-31", 0, 4, outputs=None),
    "negative": report("2026-01-31", 0, -1),
    "not-a-number": report("2026-01-31", 0, "4"),
    "true": report("2026-01-31", False, 4),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_only_a_final_report_or_a_roll_up_names_a_map(name):
    """An entry of another type may hold members of these names and mean something else."""
    found = judged(absence({"outputs_until": "2026-01-31"}, [9]), {9: FOREIGN[name]})

    assert found.verdict == "refuted"


def presence(**changes):
    value = absence(SET, [5]) | {"digests": text(MEMBER), "statement": "presence/1"}
    value["proofs"] = [{"entry": 5, "paths": paths(MEMBER)}]
    return value | {"found": {"tag": BYTES, "position": 3}} | changes


def test_what_is_there_is_shown_with_the_entry_that_brought_it():
    """Without that entry the statement is incomplete."""
    ingest = {"type": "INGEST", "body": {}}

    assert judged(presence(), {5: SEALED, 3: ingest}, judge_presence).verdict == "verified"
    assert judged(presence(), {5: SEALED}, judge_presence).verdict == "incomplete"


def test_a_path_that_ends_at_another_leaf_shows_nothing():
    """The siblings alone would do; the end that is printed has to be the one that is meant."""
    value = presence()
    good = walk(member_key(SALT, BYTES, MEMBER[BYTES]))
    other = SparsePath(good.siblings, (bytes(32), bytes(32)))
    value["proofs"][0]["paths"][BYTES] = other.text()

    assert judged(value, {5: SEALED, 3: SEALED}, judge_presence).verdict == "refuted"
    assert judged(presence(found={"tag": BYTES, "position": 4}), {5: SEALED, 4: SEALED},
                  judge_presence).verdict == "refuted"  # fmt: skip


def test_a_presence_says_of_the_other_digest_whether_it_is_there_too():
    """A file that was found by one digest may have another one that nobody put in."""
    entries = {5: SEALED, 3: {"type": "INGEST", "body": {}}}
    both = judged(presence(), entries, judge_presence)
    mixed = presence(digests=text({BYTES: MEMBER[BYTES], PIXELS: DIGESTS[PIXELS]}))
    refuted = judged(mixed, entries, judge_presence)
    mixed["proofs"][0]["paths"] = paths({BYTES: MEMBER[BYTES], PIXELS: DIGESTS[PIXELS]})
    alone = judged(mixed, entries, judge_presence)

    assert both.verdict == "verified"
    assert "is in it, too" in both.text()
    assert refuted.verdict == "refuted"
    assert alone.verdict == "verified"
    assert "found by the other digest alone" in alone.text()


def test_a_presence_with_no_walk_to_a_digest_that_it_names_is_incomplete():
    """What is named beside the digest that was found is not taken on anybody's word."""
    value = presence()
    del value["proofs"][0]["paths"][PIXELS]

    assert judged(value, {5: SEALED, 3: SEALED}, judge_presence).verdict == "incomplete"


@pytest.mark.parametrize("period", ["9999", "9999-12"])
def test_the_last_month_that_there_is_ends_a_statement_as_any_other(period):
    """A period of the year 9999 has a last day, though no day follows it."""
    value = absence({"outputs_until": "9999-12-31"}, [5])

    assert judged(value, {5: rolled(period, 0, 9)}).verdict == "verified"


@pytest.mark.parametrize("tag", [[], {}, None, 1])
def test_a_kind_of_digest_that_is_no_text_is_unreadable(tag):
    """Whatever JSON stands there, the verifier names it and does not fall over."""
    with pytest.raises(Unreadable):
        judged(presence(found={"tag": tag, "position": 3}), {5: SEALED}, judge_presence)


@pytest.mark.parametrize(
    ("members", "pixels", "told"),
    [(2, 2, False), (2, 1, True), (2, 0, True), (None, "2", False)],
)
def test_a_set_that_holds_fewer_pixel_digests_than_members_says_so(members, pixels, told):
    """That pixels are not in the tree shows nothing about a member that came without a digest."""
    sealed = copy.deepcopy(SEALED)
    sealed["body"]["dataset"] |= {
        "member_count": members,
        "digests": {BYTES: members, PIXELS: pixels},
    }

    found = judged(absence(SET, [5]), {5: sealed})

    assert found.verdict == "verified"
    assert told == any("digest of their pixels" in point for point in found.not_checked)
    assert not any("digest of their bytes" in point for point in found.not_checked)


def spoiled(**changes):
    return copy.deepcopy(absence(SET, [5])) | changes


SHAPES = {
    "no-set": spoiled(set={"dataset": "faces"}),
    "two-sets": spoiled(set={**SET, "outputs_until": "2026-01-01"}),
    "set-of-numbers": spoiled(set={"dataset": 1, "version": "1"}),
    "no-digest": spoiled(digests={}),
    "unknown-digest": spoiled(digests={"sha1": COMMIT}),
    "short-digest": spoiled(digests={BYTES: "sha256:00"}),
    "salts-in-a-list": spoiled(salts=[]),
    "salt-of-no-base64": spoiled(salts={COMMIT: "?"}),
    "proofs-in-a-mapping": spoiled(proofs={}),
    "a-proof-too-much": spoiled(proofs=[{"entry": 1, "paths": {}, "root": COMMIT}]),
    "a-place-that-is-none": spoiled(proofs=[{"entry": True, "paths": {}}]),
    "too-many-proofs": spoiled(proofs=[{"entry": 1, "paths": {}}] * 5_001),
    "a-member-too-much": spoiled(root=COMMIT),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_statement_of_another_shape_is_unreadable(name):
    """What nobody knows how to judge must not look as if it had been judged."""
    with pytest.raises(Unreadable):
        judged(SHAPES[name], {5: SEALED})


def test_a_proof_about_no_kind_of_digest_is_incomplete():
    """Each kind that the statement names needs its path."""
    assert judged(spoiled(proofs=[{"entry": 5, "paths": {}}]), {5: SEALED}).verdict == "incomplete"


@pytest.mark.parametrize(
    ("data", "yes"),
    [(b'{"statement":1}', True), (b"  \n{", True), (b"PK\x03\x04", False), (b"[]", False)],
)
def test_a_statement_is_told_by_its_first_brace(data, yes):
    """Neither a packet nor a proof begins like this."""
    assert is_statement(data) == yes


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"statement": 1},
        {"statement": "other/9", "anchored": {"files": {}}},
        {"statement": "absence/1"},
        {"statement": "absence/1", "anchored": {"files": {}, "keys": {}}},
        {"statement": "absence/1", "anchored": {"files": {"data/trust/log.vkey": ""}}},
        {"statement": "absence/1", "anchored": {"files": {"data/records/x": ""}}},
        {"statement": "absence/1", "anchored": {"files": {"data/proofs/1.tlog-proof": 7}}},
        {"statement": "absence/1", "anchored": {"files": {"data/proofs/1.tlog-proof": "?"}}},
    ],
    ids=range(10),
)
def test_a_document_that_is_no_statement_is_unreadable(value):
    """Keys and roots in it are none of its business, and strangers' files are not evidence."""
    with pytest.raises(Unreadable):
        read_statement(json.dumps(value).encode())


def test_too_many_files_are_unreadable():
    """Nobody's memory is filled by a statement."""
    with pytest.raises(Unreadable):
        read_anchored({"files": {f"data/proofs/{n}.tlog-proof": "" for n in range(20_001)}})
