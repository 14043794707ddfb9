# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials: whose token it is, what the database keeps of it, and how it ends."""

import pytest

from ledger import access
from ledger.access import CACHE_S, Credentials, issue, revoke
from ledger.database import connect
from ledger.errors import Refused, Unauthenticated

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def credentials(house):
    return Credentials(house.database)


@pytest.fixture
def elapsed(monkeypatch):
    """Make seconds pass for what is remembered."""
    passed = [0.0]
    real = access.clock.monotonic
    monkeypatch.setattr(access.clock, "monotonic", lambda: real() + passed[0])
    return passed


def test_a_token_says_who_comes(house, credentials):
    """Tenant, role, kind and name, and a random id that entries may show."""
    token = house.token(role="auditor", kind="person", name="employee-9")

    one = credentials.identify(token)

    assert (one.tenant, one.role, one.kind, one.name) == (
        house.tenant,
        "auditor",
        "person",
        "employee-9",
    )
    assert one.credential.startswith("cred_")
    assert token.startswith("st_auditor_")
    assert credentials.remembered(token) == one


def test_the_database_never_sees_a_token(house):
    """Only its SHA-256; a copy of the database opens nothing."""
    token = house.token()
    with house.owner() as owner:
        (row,) = owner.execute(
            "SELECT c::text FROM sealtrail.credential c WHERE tenant = %s", (house.tenant,)
        ).fetchall()

    assert token not in row[0]
    assert token.rpartition("_")[2] not in row[0]


@pytest.mark.parametrize(
    "token", ["", "x" * 15, "x" * 129, "st_pipeline_" + "A" * 43, "ü" * 40, "x" * 20 + "\0"]
)
def test_a_token_that_nobody_issued_is_nobodys(credentials, token):
    """Too short, too long, not ASCII, or simply wrong."""
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            credentials.identify(token)
    assert credentials.remembered(token) is None


def test_a_revoked_token_ends_within_seconds(house, credentials, elapsed):
    """What a process remembers of it lasts CACHE_S at most."""
    token = house.token()
    credential = credentials.identify(token).credential
    with connect(house.owner_url) as owner:
        revoke(owner, credential)
        revoke(owner, credential)

    assert credentials.remembered(token) is not None
    elapsed[0] += CACHE_S + 0.1

    assert credentials.remembered(token) is None
    with pytest.raises(Unauthenticated):
        credentials.identify(token)


def test_names_of_pipelines_are_known_for_good(house, credentials, elapsed):
    """A pipeline that was revoked is no person, either; other tenants' names are theirs."""
    house.token(name="renderer")
    token = house.token(name="upscaler")
    house.token(role="auditor", kind="person", name="employee-9")
    with connect(house.owner_url) as owner:
        revoke(owner, credentials.identify(token).credential)

    assert credentials.pipelines_known(house.tenant) is None
    assert credentials.pipelines(house.tenant) == {"renderer", "upscaler"}
    assert credentials.pipelines_known(house.tenant) == {"renderer", "upscaler"}
    house.token(name="painter")
    assert credentials.pipelines(house.tenant) == {"renderer", "upscaler"}
    elapsed[0] += CACHE_S + 0.1
    assert credentials.pipelines(house.tenant) == {"renderer", "upscaler", "painter"}
    assert credentials.pipelines("somebody-else") == frozenset()


def test_guessing_fills_no_memory(credentials):
    """Wrong tokens are remembered, too, but only so many of them."""
    guesses = [(float("inf"), None)] * 4097
    credentials._known.update({b"%d" % n: guess for n, guess in enumerate(guesses)})

    with pytest.raises(Unauthenticated):
        credentials.identify("x" * 40)

    assert len(credentials._known) == 1


@pytest.mark.parametrize("name", ["", "x" * 257, "two\nlines", "\x00"])
def test_a_name_that_cannot_be_shown_is_refused(house, name):
    """It would stand in reports and in the table of who is who."""
    with pytest.raises(Refused):
        house.token(name=name)


def test_a_credential_belongs_to_no_tenant_that_is_misspelled(house):
    """Two tokens are never the same, and each has an id of its own."""
    with connect(house.owner_url) as owner:
        tokens = {
            issue(owner, tenant=house.tenant, role="pipeline", kind="pipeline", name="renderer")
            for _ in range(5)
        }
        ids = owner.execute(
            "SELECT count(DISTINCT credential_id) FROM sealtrail.credential WHERE tenant = %s",
            (house.tenant,),
        ).fetchone()

    assert len(tokens) == 5
    assert ids == (5,)
