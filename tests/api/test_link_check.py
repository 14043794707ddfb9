# SPDX-License-Identifier: GPL-3.0-or-later
"""A tenant that refuses what it does not know, over HTTP; and how the setting is read."""

import pytest
from house import attempt
from registering import model
from served_house import serving

from ledger.setting_values import LinkCheck, link_check

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("text", "acme", "other"),
    [
        ("flag", False, False),
        ("refuse", True, True),
        ("flag,acme=refuse", True, False),
        ("refuse, acme=flag", False, True),
        ("refuse,acme=refuse,x=flag", True, True),
    ],
)
def test_the_setting_says_who_refuses(text, acme, other):
    """One mode for all, and tenants that have it otherwise."""
    read = link_check(text)

    assert (read.strict("acme"), read.strict("other")) == (acme, other)


@pytest.mark.parametrize(
    "text",
    ["", "yes", "Flag", "flag,acme", "flag,acme=", "flag,=refuse", "acme=refuse,flag", "flag,"],
)
def test_any_other_spelling_of_the_setting_is_refused(text):
    """A mistyped mode must not become the loose one."""
    with pytest.raises(ValueError, match="must be flag or refuse"):
        link_check(text)


def as_cloud_event(native):
    """The same attempt in another format."""
    return {
        "specversion": "1.0",
        "id": native["event_id"],
        "source": "urn:studio:renderer-3",
        "type": "org.sealtrail.GEN_ATTEMPT",
        "subject": native["aggregate_id"],
        "dataschema": "urn:sealtrail:schema:gen_attempt:1",
        "data": {
            name: native[name] for name in ("body", "sealed", "on_behalf_of", "record_key")
        },
    }  # fmt: skip


@pytest.mark.parametrize("checkers", [0, 1], ids=["here", "in a checker"])
def test_an_unknown_model_is_refused_over_http_and_says_where(house, checkers):
    """409 with code, pointer and rule; once it is registered the same request is recorded."""
    request = attempt()
    mode = LinkCheck(others=frozenset({house.tenant}))
    with serving(house, checkers=checkers, link_check=mode) as service:
        refused = service.post(request)
        media = {"content-type": "application/cloudevents+json"}
        other = service.post(as_cloud_event(attempt()), "/v1/cloudevents", headers=media)
        batch = service.post([attempt(), model(), request], "/v1/events:batch")

    told = refused.json()
    assert (refused.status_code, told["code"]) == (409, "link-unknown")
    assert told["errors"][0]["pointer"] == "/body/model"
    assert "painter" not in refused.text
    assert (other.status_code, other.json()["code"]) == (409, "link-unknown")
    assert [one["status"] for one in batch.json()["results"]] == [409, 201, 201]
