# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that open one artifact: what each of their parts is bound to."""

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from house import Hand

from ledger.archive.links import Grant, LinkExpired, LinkRefused, Links
from ledger.keystore import FileKeystore

GRANT = Grant(
    action="download",
    artifact_id="0190b5c0-0000-7000-8000-000000000001",
    credential="cred_0011",
    purpose="incident-42",
    expires_ms=2_000,
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return FileKeystore(tmp_path_factory.mktemp("links") / "keystore", b"a passphrase")


@pytest.fixture
def hand():
    return Hand(1_000)


@pytest.fixture
def links(keys, hand):
    return Links(keys, "ledger.test/acme", now_ms=hand)


def check(links, query, action="download", artifact_id=GRANT.artifact_id):
    return links.check(action, artifact_id, **dict(parse_qsl(query)))


def test_a_link_grants_what_it_was_made_for_until_it_expires(links, hand):
    """And says whose it is."""
    query = links.query(GRANT)

    assert check(links, query) == GRANT
    hand.ms = 1_999
    assert check(links, query) == GRANT
    hand.ms = 2_000
    with pytest.raises(LinkExpired):
        check(links, query)


def test_every_part_of_a_link_is_signed(links):
    """Another action, artifact, credential, purpose or date is another link."""
    query = links.query(GRANT)
    parts = dict(parse_qsl(query))
    changed = [
        {**parts, "by": "cred_0012"},
        {**parts, "purpose": "incident-43"},
        {**parts, "expires": "3000"},
        {**parts, "expires": "02000"},
        {**parts, "expires": "2000 "},
        {**parts, "signature": parts["signature"][:-1]},
        {**parts, "signature": parts["signature"] + "="},
        {**parts, "signature": ""},
    ]

    for one in changed:
        with pytest.raises(LinkRefused):
            links.check("download", GRANT.artifact_id, **one)
    with pytest.raises(LinkRefused):
        check(links, query, action="upload")
    with pytest.raises(LinkRefused):
        check(links, query, artifact_id=GRANT.artifact_id.replace("1", "2"))


def test_parts_cannot_flow_into_each_other(links):
    """What one part loses another cannot gain."""
    one = replace(GRANT, credential="cred_00", purpose="11incident-42")

    assert links.query(one).rpartition("=")[2] != links.query(GRANT).rpartition("=")[2]


def test_a_link_of_another_book_is_refused(links, keys, hand):
    """Each has a key of its own; one that was never used has none."""
    other = Links(keys, "ledger.test/other", now_ms=hand)

    with pytest.raises(LinkRefused):
        check(other, links.query(GRANT))
    other.query(GRANT)
    with pytest.raises(LinkRefused):
        check(other, links.query(GRANT))
