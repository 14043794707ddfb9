# SPDX-License-Identifier: GPL-3.0-or-later
"""The impatient pipeline, and the way in for requests of a shape that the ledger knows."""

import json

import pytest
from house import attempt
from served_house import serving

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

#: More requests than go the long way before one of them is learnt from.
ENOUGH = 300


def printed(request):
    return json.dumps(request, separators=(",", ":")).encode()


@pytest.fixture(scope="module")
def service(postgres, tmp_path_factory):
    """A server that has seen one shape of request so often that it knows it."""
    from house import house_in

    with house_in(postgres, tmp_path_factory.mktemp("shapes")) as house, serving(house) as made:
        for _ in range(ENOUGH):
            assert post(made, printed(attempt())) == (201, "")
        yield made


def post(service, body):
    """Return status and problem of the answer."""
    answer = service.client.post(
        f"{service.url}/v1/events",
        content=body,
        headers={"authorization": f"Bearer {service.pipeline}", "content-type": "application/json"},
    )
    return answer.status_code, answer.json().get("type", "")


NOT_JSON = (400, "urn:sealtrail:problem:not-json")
MALFORMED = (422, "urn:sealtrail:problem:malformed-event")

#: What is done to an honest request, and what a first request of that kind is answered.
HOSTILE = {
    "member twice": (lambda text: text[:-1] + b',"type":"GEN_ATTEMPT"}', NOT_JSON),
    "twice, escaped": (lambda text: text[:-1] + b',"typ\\u0065":"INGEST"}', NOT_JSON),
    "fraction": (lambda text: text.replace(b'"schema":1', b'"schema":1.0'), NOT_JSON),
    "no UTF-8": (lambda text: text.replace(b"employee-7", b"employee-\xed\xa0\x80"), NOT_JSON),
    "half a pair": (lambda text: text.replace(b"employee-7", b"employee-\\ud800"), NOT_JSON),
    "more behind": (lambda text: text + b"{}", NOT_JSON),
    "another type": (lambda text: text.replace(b'"GEN_ATTEMPT"', b'"ACCESS"'), MALFORMED),
    "a pipeline": (lambda text: text.replace(b'"employee-7"', b'" Renderer"'), MALFORMED),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_looks_like_the_requests_before_it(service, what):
    """Who: a pipeline after hundreds of honest requests of one shape, which nobody parses any more.
    Tries: the same bytes but for a member twice, plain or with an escape, another type, a pipeline
    as the person, a fraction, bytes that are no UTF-8, half a surrogate, more behind the end.
    Caught by: a known shape's pattern has no place for any of it, and what it does not match is
    parsed and refused like a first request; nothing is recorded.
    Not caught: a person's name that is made up; the ledger knows names of pipelines alone.
    """
    honest = printed(attempt())
    change, answer = HOSTILE[what]
    hostile, before = change(honest), service.size
    assert hostile != honest

    assert post(service, hostile) == answer
    assert service.size == before
    assert post(service, printed(attempt())) == (201, "")
