# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is done to a vault in whatever order: who is erased is gone, who is not can be opened.

A second, much simpler world says what must be so: a list of events, each with its persons, and who
of them was erased when. The real vault is driven beside it, by several processes, with nights that
stop anywhere.
"""

from contextlib import suppress

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sealing import Sealer, item, vault_of

from ledger.holds import Holds
from ledger.vault.statement import VaultMoved
from sealtrail.verify.disclosure import PERSON

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PERSONS = st.sampled_from(["alice", "bob", "carol"])


class Stopped(Exception):  # noqa: N818 - a test's own power failure
    pass


class Lives(RuleBasedStateMachine):
    """Two writers, one who erases, and what they have to agree on."""

    def __init__(self, house):
        super().__init__()
        self.house, self.holds = house, Holds.of(house.book)
        with house.owner() as owner:
            owner.execute("SET session_replication_role = replica")
            for table in ("subject", "subject_index", "sealed", "blind"):
                owner.execute(f"TRUNCATE {house.schema}.{table}")
            owner.execute(f"UPDATE {house.schema}.vault_state SET serial = serial + 1")
        self.sealers = [Sealer(house), Sealer(house)]
        self.vault = vault_of(house)
        self.events = []  # (item, {role's person: their life})
        self.life = dict.fromkeys(("alice", "bob", "carol"), 0)  # Erased so often before.
        self.known = set()  # Lives that have a subject.
        self.begun, self.serial = {}, 0

    def teardown(self):
        for sealer in self.sealers:
            sealer.close()

    @rule(user=PERSONS, depicted=PERSONS, which=st.integers(0, 1))
    def record(self, user, depicted, which):
        one = item(
            user,
            prompt__user=f"a word of {user}",
            actor__account_id=f"account of {user}",
            subjects__depicted=depicted,
        )
        sealer = self.sealers[which]
        for _ in range(3):
            try:
                sealer.record(one)
            except VaultMoved:
                sealer.vault.forget()
            except psycopg.errors.UniqueViolation:
                sealer.vault.doubt()
            else:
                break
        else:
            raise AssertionError("the batch did not get through")
        persons = {(name, self.life[name]) for name in (user, depicted)}
        self.known |= persons
        self.events.append((one, user, depicted, dict(persons)))

    @rule(person=PERSONS)
    def ask_to_be_erased(self, person):
        life = (person, self.life[person])
        subject = self.vault.subject_of(person)
        assert (subject is not None) == (life in self.known)
        if subject is not None:
            self.serial += 1
            self.vault.begin_erasure(subject.ref, f"erasure-{self.serial}")
            self.begun[life] = subject.ref
            self.life[person] += 1

    @rule(stop=st.sampled_from(["rewrap", "reindex", None]), rotate=st.booleans())
    def night(self, stop, rotate):
        def progress(step, done, _all):
            if step == stop and done:
                raise Stopped

        work = self.vault.rewrap if rotate else self.vault.finish_erasures
        with suppress(Stopped):
            work(self.holds, progress)
            assert all(self.vault.subject(ref).state == "erased" for ref in self.begun.values())

    @rule()
    def restart(self):
        self.teardown()
        self.sealers = [Sealer(self.house), Sealer(self.house)]
        self.vault = vault_of(self.house)

    @invariant()
    def everybody_sees_what_must_be_so(self):
        for one, user, depicted, lives in self.events:
            alive = {name for name, life in lives.items() if life == self.life[name]}
            expected = {}
            if user in alive:
                expected |= {PERSON: user, "prompt.user": f"a word of {user}"}
                expected |= {"actor.account_id": f"account of {user}"}
            if depicted in alive:
                expected |= {"subjects.depicted": depicted}
            opened = self.vault.open(one.event_id)
            assert dict(opened.values) == expected
            assert len(opened.gone) == len(lives) - len(alive)

    @invariant()
    def everybody_is_found_by_what_is_left_of_them(self):
        for name in self.life:
            theirs = {
                one.event_id
                for one, user, _, lives in self.events
                if user == name and lives[name] == self.life[name]
            }
            assert set(self.vault.find("actor.account_id", f"account of {name}")) == theirs


@pytest.fixture(scope="module")
def house(one_house):
    return one_house


def test_no_order_of_events_loses_the_living_or_keeps_the_erased(house):
    """Writers, erasures, rotations and power failures in any order."""
    run_state_machine_as_test(
        lambda: Lives(house),
        settings=settings(
            max_examples=8,
            stateful_step_count=14,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
