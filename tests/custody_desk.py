# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever decides about custody, in tests: two auditors, some holds, and three recorded events."""

from house import attempt

from ledger.erasure.erasures import Erasures
from ledger.holds import Holds
from ledger.request import Identity

BASIS = "gdpr-17-1-b"


class Desk:
    """Who decides about custody in a Book, and what is recorded there: three events' ids.

    Two events are alice's, one of them with bob in the picture, and one is carol's.
    """

    def __init__(self, house):
        self.house, self.vault = house, house.book.vault
        self.holds, self.erasures = Holds.of(house.book), Erasures.of(house.book)
        self.clerk, self.second = self.auditor("erin"), self.auditor("sam")
        self.ids = [
            self.record("alice", "a cat", **{"actor.account_id": "account-1"}),
            self.record("alice", "a dog", subjects={"depicted": "bob"}),
            self.record("carol", "a fish"),
        ]

    def record(self, person, prompt, subjects=None, **sealed):
        """Record an attempt of a person; returns its event's id."""
        more = {} if subjects is None else {"subjects": subjects}
        request = attempt(on_behalf_of=person, sealed={"prompt.user": prompt, **sealed}, **more)
        self.house.post(request)
        return request["event_id"]

    def auditor(self, name):
        """A person with a fresh auditor's credential."""
        self.house.token(role="auditor", kind="person", name=name)
        with self.house.owner() as owner:
            (credential,) = owner.execute(
                "SELECT credential_id FROM sealtrail.credential WHERE tenant = %s AND name = %s"
                " ORDER BY created_at DESC LIMIT 1",
                (self.house.tenant, name),
            ).fetchone()
        return Identity(
            credential=credential,
            tenant=self.house.tenant,
            role="auditor",
            kind="person",
            name=name,
        )

    def ask(self, person="alice", **more):
        return self.erasures.request(person=person, basis=BASIS, by=self.clerk, **more)

    def approve(self, case, person="alice", by=None):
        return self.erasures.approve(case.erasure_id, person=person, by=by or self.second)

    def ask_and_approve(self, person="alice"):
        return self.approve(self.ask(person), person)

    def hold(self, **scope):
        return self.holds.apply(scope, matter="2026-CV-01234", authority="court-order").hold_id

    def release(self, hold_id):
        self.holds.release(hold_id, authority="court-order")

    def state(self, case):
        return self.erasures.get(case.erasure_id).state

    def types(self):
        """The types of all entries about custody so far, in order."""
        reader = self.house.book.reader
        found = [one.entry.value["type"] for one in reader.between(0, reader.head().size)]
        return [one for one in found if one.startswith(("ERASURE", "LEGAL"))]
