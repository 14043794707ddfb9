# SPDX-License-Identifier: GPL-3.0-or-later
"""Any request whatever: it becomes the entry that its members say, or is refused in silence."""

import pytest
from event_bodies import LEAST
from event_envelope import ENVELOPE
from event_requests import KEY, PIPELINE, ZOE, custody, entry_of, prepared, request
from event_values import AT, ID, D
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import catalog
from ledger.errors import MalformedEvent, Refused
from ledger.request import GROUPS, MEMBERS
from sealtrail.verify.disclosure import PERSON, commit, decode_base64url, encode_base64url

MINE = custody()

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from([ID, D, AT, "emp-7", encode_base64url(KEY), *MINE["_sd"]]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
SECRET = "Zoë Example\a"


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(LEAST)),
    st.dictionaries(st.sampled_from(sorted(MEMBERS)) | st.text(max_size=4), JSON | st.just(...)),
    st.sampled_from([PIPELINE, ZOE]),
)
def test_any_json_is_prepared_or_refused_and_breaks_nothing(type_, changes, identity):
    """No request, however odd, ends in anything but a Prepared or a 4xx."""
    one = answer(request(type_, **changes), identity)

    if isinstance(one, Refused):
        assert 400 <= one.status < 500
    else:
        assert entry_of(one) == naively(request(type_, **changes), identity)


def naively(sent, identity):
    """The entry, put together from its members."""
    entry = {name: sent[name] for name in ("event_id", "type", "schema", "body")} | {"v": 1}
    entry |= {name: value for name, value in sent.items() if name in GROUPS}
    aggregate = catalog.lookup(sent["type"], sent["schema"]).aggregate
    entry["aggregate"] = {"id": sent["aggregate_id"], "type": aggregate, "version": 2**53 - 1}
    entry["tenant"] = "dev"
    received = "1970-01-01T00:00:00.001Z"
    entry["time"] = sent.get("time", {}) | {"recorded": AT, "request_received": received}
    kind = {"kind": "human" if identity is ZOE else "service"}
    entry["actor"] = kind | sent.get("actor", {}) | {"credential": identity.credential}
    if "_sd" in sent:
        digests = sent["_sd"]
        entry["actor"]["person_digest"] = sent["person_digest"]
    else:
        person = sent.get("on_behalf_of", identity.name)
        key = decode_base64url(sent["record_key"])
        digests, _ = commit(key, {**sent.get("sealed", {}), PERSON: person})
    return entry | {"_sd": digests, "_sd_alg": "sha-256"}


def answer(one, identity=PIPELINE):
    """What comes of a request: it is prepared, or the refusal."""
    try:
        return prepared(one, identity)
    except Refused as refusal:
        return refusal


@given(st.dictionaries(st.text(max_size=6), JSON))
def test_any_object_is_refused_if_it_is_no_request(anything):
    """Members missing, members unknown: 422."""
    with pytest.raises(MalformedEvent):
        prepared(anything)


@pytest.mark.parametrize("name", sorted(MEMBERS))
@pytest.mark.parametrize("base", ["whole", "custody"])
def test_no_refusal_repeats_what_was_sent(name, base):
    """Whatever member a name is put into, or under, no error says it again."""
    whole = request(**ENVELOPE, **(MINE if base == "custody" else {}))
    for value in (SECRET, [SECRET], {SECRET: SECRET}, {"prompt.user": {SECRET: None}}):
        for more in ({}, {SECRET: SECRET}):
            said = answer({**whole, name: value, **more})

            if name == "on_behalf_of" and base == "whole" and value == SECRET and not more:
                assert SECRET not in repr(said)  # Whoever that is.
            else:
                assert "Zoë" not in repr([str(said), said.errors, said.facts])
                assert (said.__cause__, said.__context__) == (None, None)
