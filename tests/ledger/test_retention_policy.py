# SPDX-License-Identifier: GPL-3.0-or-later
"""When something is due: the longest floor of all its classes, of all versions that govern it."""

from contextlib import suppress
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from retention_world import policy

from ledger import catalog, clock
from ledger.errors import EntryDamaged, MalformedEvent
from ledger.retention import bundle, members
from ledger.retention.classes import CLASSES, add_months
from ledger.retention.manifest import Leaf, Manifest, ManifestDamaged, cut
from ledger.retention.policy import Claim, Policies, is_permanent, policy_body
from ledger.retention.remains import body_from, remains_of

T0 = clock.parse_time("2024-01-31T12:00:00.123Z")
FAR = clock.parse_time("2099-01-01T00:00:00.000Z")
PLAIN = Claim()


def policies(*documents, recorded=0):
    """Versions as their entries would have them; recorded one day after the other."""
    found = []
    for at, document in enumerate(documents):
        found.append((policy_body(document, None if not at else _last(found)), recorded + at))
    return Policies(found)


def _last(found):
    return Policies(found).versions[-1]


def due(of, type_="GEN", claim=PLAIN, *, what="entry", recorded=T0, now=FAR):
    found = of.due(what, type_, claim, recorded_ms=recorded, now_ms=now)
    return None if found is None else clock.rfc3339(found)


@pytest.mark.parametrize(
    ("months", "later"),
    [
        (0, "2024-01-31T12:00:00.123Z"),
        (1, "2024-02-29T12:00:00.123Z"),
        (6, "2024-07-31T12:00:00.123Z"),
        (13, "2025-02-28T12:00:00.123Z"),
        (1_200, "2124-01-31T12:00:00.123Z"),
    ],
)
def test_months_are_those_of_the_calendar(months, later):
    """The 31st becomes the last day; the time of day stays."""
    assert clock.rfc3339(add_months(T0, months)) == later


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 1_200))
def test_later_never_becomes_earlier(ms, months):
    """Whoever was recorded later is due later, or at the same time."""
    assert add_months(ms, months) <= add_months(ms + 86_400_000, months)
    assert datetime.fromtimestamp(add_months(ms, months) // 1000, UTC).month


def test_the_longest_floor_counts():
    """Of the type's classes and of the one that the entry names."""
    of = policies(policy(months=6, disclosures=3))

    assert due(of) == "2024-07-31T12:00:00.123Z"
    assert due(of, what="disclosures") == "2024-04-30T12:00:00.123Z"
    assert due(of, claim=Claim(name="cap-silver")) == "2026-01-31T12:00:00.123Z"
    assert due(of, claim=Claim(name="gdpr-min")) == "2024-07-31T12:00:00.123Z"
    assert due(of, claim=Claim(not_before_ms=FAR - 1)) == clock.rfc3339(FAR - 1)


def test_what_nobody_knows_is_kept():
    """An unknown class, a type without a rule, a permanent type, and no policy at all."""
    rule = {"type": "GEN", "classes": ["aiact-6m"]}
    of = policies(policy(rules=[rule]))

    assert due(of) is not None
    assert due(of, "INGEST") is None
    assert due(of, claim=Claim(name="a-class-of-tomorrow")) is None
    assert due(policies(policy()), "ANCHOR") is None
    assert due(Policies([])) is None


def test_a_shorter_version_shortens_nothing_that_is_recorded():
    """A longer one holds for what is there; a shorter one for what comes after it."""
    day = clock.DAY_MS
    own = {"entry_months": 1, "disclosure_months": 1, "artifact_months": 1, "class": "own"}
    short = policy(
        version=2,
        classes=[own],
        rules=[{"type": "OTHERS", "classes": ["own"]}],
        effective_from=clock.rfc3339(T0 + day),
    )
    long = policy(version=3, months=60, effective_from=clock.rfc3339(T0 + 3 * day))
    of = policies(policy(), short, long)

    assert due(policies(policy(), short)) == "2024-07-31T12:00:00.123Z"
    assert due(policies(policy(), short), recorded=T0 + 2 * day) == "2024-03-02T12:00:00.123Z"
    assert due(of) == "2029-01-31T12:00:00.123Z"
    assert due(of, now=T0 + 2 * day) == "2024-07-31T12:00:00.123Z"  # Not in force yet.


def test_a_version_counts_from_when_it_was_recorded_whatever_it_says():
    """A policy dated back governs nothing that was recorded before it was published."""
    of = policies(policy(effective_from="2001-01-01T00:00:00.000Z"), recorded=T0)

    assert of.versions[0].effective_ms == T0
    assert of.current(T0 - 1) is None


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"months": 5}, "below-floor"),
        ({"disclosures": 7}, "outlives-entry"),
        ({"rules": [{"type": "ANCHOR", "classes": ["aiact-6m"]}]}, "unknown-type"),
        ({"rules": [{"type": "GEN", "classes": ["other"]}]}, "unknown-class"),
        ({"rules": [{"type": "GEN", "classes": ["aiact-6m"]}] * 2}, "duplicate"),
        ({"warm_days": 30}, "range"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_refused_by_name(change, rule):
    """Nothing below the law, nothing that means two things."""
    with pytest.raises(MalformedEvent) as refused:
        policy_body(policy(**change), None)

    assert rule in {error.rule for error in refused.value.errors}


def test_every_class_of_the_law_can_be_published():
    """The table of classes and the form of a policy fit each other."""
    classes = [
        {"class": one.name, "entry_months": one.months, "disclosure_months": 0,
         "artifact_months": one.months, "basis": one.basis}
        for one in CLASSES.values()
    ]  # fmt: skip
    rules = [{"type": "OTHERS", "classes": list(CLASSES)}]

    assert policy_body(policy(classes=classes, rules=rules), None)["digest"]


def test_the_database_knows_the_same_permanent_types(postgres):
    """The pattern in `may_go` and the one in Python agree about every type there is."""
    from importlib import resources

    text = resources.files("ledger").joinpath("schema/book_retention.sql").read_text("utf-8")
    pieces = text.partition("e.topic !~ '")[2].partition(")/'")[0]
    pattern = "".join(piece.strip().strip("'") for piece in pieces.split("\n")) + ")/"
    types = sorted({type_ for type_, _ in catalog.CATALOG} | {"LEGAL_HOLD_X", "GENERAL", "XANCHOR"})
    with psycopg.connect(postgres.url()) as connection:
        rows = connection.execute(
            "SELECT t, t || '/1' ~ %s FROM unnest(%s::text[]) AS t", (pattern, types)
        ).fetchall()

    assert dict(rows) == {type_: is_permanent(type_) for type_ in types}
    assert is_permanent("ERASURE_DEFERRED")
    assert not is_permanent("ACCESS")


@given(st.sets(st.integers(0, 255), min_size=1), st.integers(0, 2**40))
def test_members_are_what_was_packed(offsets, number):
    """Any set of positions of a run, as PostgreSQL's get_bit counts them."""
    positions = sorted(number * 256 + at for at in offsets)

    packed = members.pack(positions)

    assert members.unpack(number, packed) == positions
    assert all(members.holds(packed, at) == (at in positions) for at in range(number * 256, 256))
    assert [at for one in members.ranges(positions) for at in range(*one)] == positions


BODIES = [b"one", b"", b"three" * 1_000]
BITS = members.pack([256, 300, 511])
WHERE = {"origin": "ledger.test/x", "number": 1, "members": BITS}


def test_a_bundle_opens_as_it_was_sealed():
    """The same bytes at the same positions, and nothing of them in the clear."""
    sealed = bundle.seal(bundle.join(BODIES), bytes(32), **WHERE)

    assert dict(bundle.unseal(sealed, bytes(32), **WHERE)) == dict(
        zip([256, 300, 511], BODIES, strict=True)
    )
    assert b"three" not in sealed
    assert len(sealed) < 200


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "ledger.test/y"},
        {"number": 2},
        {"members": members.pack([256, 300, 510])},
        {"key": b"\1" * 32},
    ],
)
def test_a_bundle_opens_nowhere_else(change):
    """Not for another log, another run, other positions or another key."""
    sealed = bundle.seal(bundle.join(BODIES), bytes(32), **WHERE)
    key = change.pop("key", bytes(32))

    with pytest.raises(bundle.BundleDamaged):
        bundle.unseal(sealed, key, **(WHERE | change))


def test_a_bundle_that_would_fill_the_memory_is_refused():
    """A bomb of zeros under the right key is still no bundle."""
    bomb = bundle.seal(bytes(bundle.PLAIN_MAX + 1), bytes(32), **WHERE)

    with pytest.raises(bundle.BundleDamaged):
        bundle.unseal(bomb, bytes(32), **WHERE)


@given(st.binary(max_size=64))
def test_no_bytes_are_split_but_whole_bundles(data):
    """What splits joins to the same bytes again."""
    with suppress(bundle.BundleDamaged):
        assert bundle.join(bundle.split(data)) == data


def leaf(index, **more):
    facts = {
        "leaf": bytes(32), "event_id": "0190a5b0-0000-7000-8000-000000000000", "type": "GEN",
        "aggregate": "Generation", "aggregate_id": "x", "version": 1, "claim": "",
        "not_before_ms": T0,
    }  # fmt: skip
    return Leaf(index=index, **{**facts, **more})


def manifest(*leaves):
    return Manifest(origin="ledger.test/x", what="entry", policy={"id": "p"}, leaves=leaves)


def test_a_manifest_is_read_as_it_was_printed():
    """One spelling; its entry is taken by the catalogue."""
    made = manifest(leaf(3), leaf(4), leaf(9, claim="cap-gold"))

    assert Manifest.decode(made.encode()) == Manifest(
        origin=made.origin, what="entry", policy=made.policy, leaves=list(made.leaves)
    )
    body = made.body(holds_skipped=2)
    body["policy"] = {"id": "p", "version": 1, "digest": "sha256:" + "0" * 64}
    assert catalog.validate("RETENTION_EXPIRED", 1, body, {}, by_ledger=True)["leaf_ranges"] == [
        [3, 5],
        [9, 10],
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"\xff", b'{"v":1}',
        manifest(leaf(4), leaf(3)).encode(),
        manifest(leaf(3), leaf(3)).encode(),
        manifest(leaf(3)).encode().replace(b'"v":1', b'"v":2'),
        manifest(leaf(3)).encode() + b" ",
        manifest(leaf(3)).encode().replace(b'"entry"', b'"other"'),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_damage(data):
    """Out of order, twice, another version, another spelling."""
    with pytest.raises(ManifestDamaged):
        Manifest.decode(data)


def test_units_are_never_divided():
    """Each manifest stays within what its entry may name."""
    units = [[leaf(run * 256 + at) for at in range(0, 256, 2)] for run in range(40)]

    cuts = list(cut(units))

    assert sum(len(one) for one in cuts) == 40 * 128
    assert all(len(list(members.ranges(x.index for x in one))) <= 256 for one in cuts)
    assert all(len({x.index // 256 for x in one}) * 128 == len(one) for one in cuts)


def test_what_remains_folds_to_the_same_state():
    """A timeout, the promise of a training run, digests, a consent's end; else the type."""
    from event_bodies import FULL, LEAST, TIMEOUT

    from ledger import lifecycle
    from sealtrail.verify import canonical

    late = {"claimed": {"type": "GEN", "schema": 1, "body": FULL["GEN"]}}
    bodies = [*LEAST.items(), *FULL.items(), ("GEN_ERROR", TIMEOUT), ("OUTCOME_LATE", late)]
    for type_, body in bodies:
        kept = remains_of(type_, body)
        back = body_from(f"{type_}/1", None if kept is None else canonical.encode(kept))
        aggregate = catalog.CATALOG[type_, 1].aggregate

        before = lifecycle.fresh(aggregate, "x")

        if aggregate == "Writer":  # Numbers begin anew, and none of them is taken twice.
            assert kept is None
            continue
        assert before.after(type_, back) == before.after(type_, body)
    for type_ in ("CONSENT_GRANTED", "POLICY_PUBLISHED"):
        with pytest.raises(EntryDamaged):
            body_from(f"{type_}/1", None)
    for wrong in (b"", b"[]", b"{"):
        with pytest.raises(EntryDamaged):
            body_from("GEN_ERROR/1", wrong)
