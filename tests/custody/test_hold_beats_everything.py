# SPDX-License-Identifier: GPL-3.0-or-later
"""A hold beats erasure, retention, tiers, rotation and hands, whatever comes in which order.

One ledger, whose time moves on; three persons in each run, and whoever wants may do anything. After
each step everything that a hold has met while it was there still is there. At the end every hold is
released, and what was approved happens.
"""

from contextlib import suppress

import psycopg
import pytest
from custody_desk import Desk
from house import Hand, event_id, house_in, noon_before
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anchoring.night import Night
from anchoring.sweep import RetentionSweep, publish_policy
from ledger.archive.directory import DirectoryArchive
from ledger.errors import LedgerError
from ledger.vault.construction import wrapping_key
from ledger.vault.generations import KeyHeld

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PERSONS = ("ann", "ben", "cyd")
CLASS = {
    "class": "aiact-6m",
    "entry_months": 6,
    "disclosure_months": 1,
    "artifact_months": 6,
}
POLICY = {
    "id": "acme-retention",
    "version": 1,
    "effective_from": "1990-01-01T00:00:00.000Z",
    "hot_days": 30,
    "warm_days": 90,
    "classes": [CLASS],
    "rules": [{"type": "OTHERS", "classes": ["aiact-6m"]}],
}

#: Statements by which somebody with the server's login would remove what is held.
BY_HAND = (
    "DELETE FROM {b}.sealed WHERE event_id = %s",
    "UPDATE {b}.sealed SET wrapped_key = NULL, blob = NULL WHERE event_id = %s",
)


class Everything(RuleBasedStateMachine):
    """Who records, holds, erases, expires and rotates; `held` is what must not go."""

    desk = night = archive = None  # The module's ledger, set by the test.

    def __init__(self):
        super().__init__()
        self.names = {name: f"{name}-{event_id()}" for name in PERSONS}
        self.events = {}  # event id → (person, type, prompt)
        self.holds = {}  # hold id → the events and persons that it means, or a type
        self.cases = {}  # person → erasure id
        self.kept = set()  # Events whose values a hold has met alive.
        self.bodies = set()  # Events whose body a hold has met in the database.

    # What happens

    @rule(name=st.sampled_from(PERSONS), other=st.sampled_from(PERSONS))
    def record(self, name, other):
        prompt = f"a picture for {name} number {len(self.events)}"
        subjects = None if name == other else {"depicted": self.names[other]}
        id_ = self.desk.record(self.names[name], prompt, subjects=subjects)
        self.events[id_] = ({name, other}, "GEN_ATTEMPT", prompt)

    @rule(data=st.data())
    @precondition(lambda self: self.events)
    def hold_events(self, data):
        ids = data.draw(st.lists(st.sampled_from(sorted(self.events)), min_size=1, unique=True))
        self.holds[self.desk.hold(event_ids=ids)] = {"events": set(ids)}

    @rule(name=st.sampled_from(PERSONS))
    def hold_person(self, name):
        subject = self.desk.vault.subject_of(self.names[name])
        if subject is not None:
            scope = {"subjects": [str(subject.ref)]}
            met = {id_ for id_, _ in self.of(subject.ref)}
            self.holds[self.desk.hold(**scope)] = {"events": met, "ref": str(subject.ref)}

    @rule()
    def hold_the_erasing(self):
        for case in self.desk.erasures.all():
            if case.state in ("pending", "deferred") and case.erasure_id in self.cases.values():
                met = {id_ for id_, _ in self.of(case.subject_ref)}
                hold_id = self.desk.hold(subjects=[case.subject_ref])
                self.holds[hold_id] = {"events": met, "ref": case.subject_ref}

    @rule()
    def hold_key(self):
        with self.desk.house.owner() as owner:
            query = f"SELECT generation FROM {self.desk.house.schema}.vault_state"
            (generation,) = owner.execute(query).fetchone()
        name = wrapping_key(self.desk.house.origin, generation)
        self.holds[self.desk.hold(keys=[name])] = {"events": set(), "key": name}

    @rule()
    def hold_all(self):
        query = {"recorded_from": "1970-01-01T00:00:00.000Z"}
        self.holds[self.desk.hold(query=query)] = {"all": True}

    @rule(data=st.data())
    @precondition(lambda self: self.holds)
    def release(self, data):
        hold_id = data.draw(st.sampled_from(sorted(self.holds)))
        self.desk.release(hold_id)
        del self.holds[hold_id]

    @rule(name=st.sampled_from(PERSONS))
    def erase(self, name):
        if self.desk.vault.subject_of(self.names[name]) is None:
            return
        try:
            case = self.desk.ask(self.names[name])
        except LedgerError:
            return  # An erasure of this subject waits for a hold.
        self.cases[name] = self.desk.approve(case, self.names[name]).erasure_id

    @rule()
    def advance(self):
        self.desk.erasures.advance()

    @rule()
    def destroy(self):
        self.desk.erasures.complete()

    @rule()
    def rotate(self):
        with suppress(KeyHeld):
            self.desk.vault.rewrap(self.desk.holds)

    @rule(days=st.sampled_from([8, 40, 100]))
    def pass_days(self, days):
        self.desk.house.now_ms.move(days=days)
        self.desk.record("somebody-else", "a day later")
        self.night.interim()

    @rule()
    def sweep(self):
        for _ in RetentionSweep(self.desk.house.book, self.archive).run():
            pass

    @rule(statement=st.sampled_from(BY_HAND))
    def take_by_hand(self, statement):
        for id_ in sorted(self.kept)[:2]:
            with psycopg.connect(self.desk.house.app_url, autocommit=True) as login:
                login.execute(f"SET ROLE {self.desk.house.schema}_retain")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    login.execute(statement.format(b=self.desk.house.schema), (id_,))

    # What must be true

    @invariant()
    def nothing_held_is_gone(self):
        ids = sorted(self.events)
        held = {id_ for id_ in ids if any(self.means(one, id_) for one in self.holds.values())}
        values, bodies = self.there(ids)
        self.kept = (self.kept & held) | (held & values)
        self.bodies = (self.bodies & held) | (held & bodies)

        keys = [scope["key"] for scope in self.holds.values() if "key" in scope]
        assert all(self.desk.house.keys.has(name) for name in keys)
        assert self.kept <= values
        assert self.bodies <= bodies
        assert set(self.desk.holds.on_events(ids)) == held

    def teardown(self):
        """Release everything: the clocks run again, and what was approved is done."""
        for hold_id in self.holds:
            self.desk.release(hold_id)
        self.desk.erasures.complete()
        known = {case.erasure_id: case for case in self.desk.erasures.all()}
        for erasure_id in self.cases.values():
            assert known[erasure_id].state == "complete"
            for id_, blob in self.of(known[erasure_id].subject_ref):
                assert not blob
                assert erasure_id in self.desk.vault.open(id_).erasures

    # How it is looked at

    def means(self, scope, id_):
        return "all" in scope or id_ in scope["events"] or self.joined(scope.get("ref"), id_)

    def joined(self, ref, id_):
        """Whether an event came to hold values of a subject after the hold on that subject."""
        return ref is not None and id_ in {one for one, _ in self.of(ref)}

    def of(self, ref):
        """The events with values of a subject, and whether those are there."""
        return self.rows(
            "SELECT event_id, blob IS NOT NULL FROM {b}.sealed WHERE subject_ref = %s", ref
        )

    def there(self, ids):
        """Which of these events have all their values, and which their body in the database."""
        values = self.rows(
            "SELECT event_id, bool_and(blob IS NOT NULL) FROM {b}.sealed"
            " WHERE event_id = ANY(%s::uuid[]) GROUP BY 1",
            ids,
        )
        bodies = self.rows(
            "SELECT e.event_id, true FROM {b}.entry e JOIN {b}.entry_body USING (position)"
            " WHERE e.event_id = ANY(%s::uuid[])",
            ids,
        )
        return {id_ for id_, whole in values if whole}, {id_ for id_, _ in bodies}

    def rows(self, query, value):
        with self.desk.house.owner() as owner:
            rows = owner.execute(query.format(b=self.desk.house.schema), (value,)).fetchall()
        return [(str(id_), there) for id_, there in rows]


@pytest.fixture(scope="module")
def ledger(pattern, authority, tmp_path_factory):
    """A ledger that begins long ago, with an archive and a policy of short terms."""
    directory = tmp_path_factory.mktemp("everything")
    hand = Hand(noon_before(9_000))
    with house_in(pattern, directory, now_ms=hand, jump_ms=10**11) as house:
        publish_policy(house.book, POLICY)
        Everything.desk = Desk(house)
        Everything.night = Night(house.book, [authority.authority()])
        Everything.archive = DirectoryArchive(directory / "archive", now_ms=hand)
        yield


def run(examples, steps):
    Everything.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    Everything.TestCase().runTest()


@pytest.mark.usefixtures("ledger")
def test_a_hold_beats_everything_in_every_order():
    """A few dozen orders of events on every run; `soak` tries many more."""
    run(6, 12)


@pytest.mark.soak
@pytest.mark.usefixtures("ledger")
def test_a_hold_beats_everything_in_many_orders():
    """Hundreds of orders."""
    run(300, 40)
