# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry that is as sent in one comparison is so member by member, too, whatever it says.

The shortcut may send anybody the long way round, and must let nobody pass whom that refuses.
"""

import base64
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_ledger import SmallLedger
from test_recorder import ATTEMPT

from sealtrail import ReceiptInvalid
from sealtrail.receipt import _check_content, _is_as_sent, _read, check_receipt
from sealtrail.request import prepare
from sealtrail.verify import canonical
from sealtrail.verify.entry import check_members
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.tlog_proof import TlogProof

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

#: What may stand anywhere, alone or beside its neighbours: 1 and true, 0 and false are the traps.
VALUES = st.sampled_from(
    [1, True, 0, False, None, 2, -1, "1", "true", {}, [], {"id": "x"}, ["A" * 43], "system",
     "human", "Note", "INGEST", "OUTCOME_LATE", "GEN", "recorded", "sha-256",
     "2026-11-20T10:00:00.000Z"]
)  # fmt: skip
NAMES = st.sampled_from(
    ["n", "type", "id", "version", "kind", "auth", "credential", "role", "recorded", "producer",
     "request_received", "tenant", "time", "actor", "trace", "_sd", "_sd_alg", "claimed", "body"]
)  # fmt: skip
CHANGES = st.lists(st.tuples(st.integers(0, 60), st.sampled_from("=+-"), NAMES, VALUES), max_size=3)

SENT = [
    {},
    {"actor": {"kind": "human", "auth_method": "api-key"}},
    {"actor": {"role": "ARTIST"}, "body": {"ok": True, "n": 1}},
    {"body": {"text": "it is true that 1 is one", "flags": [0, 1, False]}},
    {"actor": {}, "time": {}},
    {"actor": {"auth": "mine"}, "time": {"recorded": "2026-11-20T10:00:00.000Z"}},
    {"time": None, "trace": None, "links": None, "source": None},
    {"on_behalf_of": None},
    {"actor": "nobody", "time": "never"},
]


def places(value, path=()):
    """Yield the path of every value that can be changed."""
    if isinstance(value, (dict, list)):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield (*path, name)
            yield from places(value[name], (*path, name))


def changed(entry, changes):
    entry = copy.deepcopy(entry)
    for number, how, name, shared in changes:
        value = copy.deepcopy(shared)
        listed = list(places(entry))
        *path, last = listed[number % len(listed)]
        holder = entry
        for one in path:
            holder = holder[one]
        if how == "-":
            del holder[last]
        elif how == "=" or isinstance(holder, list):
            holder[last] = value
        else:
            holder[name] = value
    return entry


def recorded(sent, late=False):
    """A receipt, as members, of what was sent."""
    ledger = SmallLedger()
    ledger.person_of_token, ledger.late = "emp-9", late
    return ledger, ledger.record(sent.content)[1]


def prepared(kind="GEN_ATTEMPT", **changes):
    return prepare(kind, 1, ATTEMPT | changes, event_id=None, record_key=None)


@settings(max_examples=1_500, deadline=None)
@given(which=st.sampled_from(SENT), changes=CHANGES, late=st.booleans())
def test_what_passes_in_one_comparison_passes_member_by_member(which, changes, late):
    """Entries changed at random, of requests of every shape; the long way is the judge."""
    sent = prepared("GEN" if late else "GEN_ATTEMPT", **which)
    try:
        _, members = recorded(sent, late)
    except (AttributeError, TypeError):
        return  # A request that not even this ledger can read.
    entry = changed(canonical.decode(base64.b64decode(members["entry"])), changes)
    members["entry"] = base64.b64encode(canonical.encode(entry)).decode()
    receipt = _read(canonical.encode(members), repeat=False, signature_checked=False)
    try:
        entry = check_members(entry)
    except VerifyError:
        return  # Such an entry is refused before.

    if _is_as_sent(entry, receipt, sent):
        _check_content(entry, receipt, sent)


@pytest.mark.parametrize("changes", [*SENT[:4], SENT[6]], ids=repr)
def test_an_ordinary_entry_takes_the_short_way(changes):
    """Otherwise the property above would hold of nothing."""
    sent = prepared(**changes)
    ledger, members = recorded(sent)
    receipt = _read(canonical.encode(members), repeat=False, signature_checked=False)
    entry = canonical.decode(receipt.entry)

    assert _is_as_sent(entry, receipt, sent)
    check_receipt(canonical.encode(members), sent, trust=ledger.trust, repeat=False)


@pytest.mark.parametrize("others", [0, 1, 2, 9])
def test_a_proof_is_printed_here_as_everywhere(others):
    """Otherwise each would be parsed, and nobody would notice."""
    ledger = SmallLedger()
    for _ in range(others):
        ledger.record(prepared().content)
    sent = prepared()
    members = ledger.record(sent.content)[1]
    receipt = check_receipt(canonical.encode(members), sent, trust=ledger.trust, repeat=False)

    said = receipt.checkpoint.encode()
    ours = TlogProof(index=receipt.position, path=receipt.path, checkpoint=said)
    assert ours.print() == receipt.proof.encode()
    assert TlogProof.parse(receipt.proof.encode()).path == receipt.path


def test_a_signature_that_failed_is_checked_again_and_one_that_held_is_not_lent():
    """The remembered answer is about these bytes and these keys, and never about a failure."""
    sent = prepared()
    ledger, members = recorded(sent)
    other, _ = recorded(sent)
    body = canonical.encode(members)

    for _ in range(3):
        with pytest.raises(ReceiptInvalid) as invalid:
            check_receipt(body, sent, trust=other.trust, repeat=False)
        assert invalid.value.check == "signature"
        assert check_receipt(body, sent, trust=ledger.trust, repeat=False).signature_checked
