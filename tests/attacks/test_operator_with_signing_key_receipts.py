# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator with the signing key answers a client: with a receipt that is nearly right.

Hash, path and signature of what he writes down are all true; he signs them himself. What a client
compares in one go, and what it remembers of the answer before, is where he tries to pass.
"""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "client"))

from small_ledger import TOKEN, SmallLedger, serving

from sealtrail import ReceiptInvalid, Recorder

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def ledger():
    return SmallLedger()


@pytest.fixture
def recorder(ledger):
    with serving(ledger) as url, Recorder(url, TOKEN, trust=ledger.trust, attempts=1) as made:
        yield made


def post(recorder, **changes):
    event = {
        "aggregate_id": "0198c0de-0000-7000-8000-000000000001",
        "on_behalf_of": "emp-7",
        "body": {"n": 1, "approved": False, "items": [0, 1]},
        "actor": {"kind": "human", "auth_method": "api-key"},
        "time": {"producer": "2026-11-20T10:00:00.000Z"},
    }
    return recorder.post("GEN_ATTEMPT", **(event | changes))


def refused(recorder, check, **changes):
    with pytest.raises(ReceiptInvalid) as invalid:
        post(recorder, **changes)
    assert invalid.value.check == check, str(invalid.value)


def test_writes_down_true_for_one(ledger, recorder):
    """Who: an operator who knows that programs in Python take 1 for true.
    Tries: an entry with true where 1 was sent, 0 where false was, also inside lists.
    Caught by: the client, which compares bytes wherever one of the two stands in an entry.
    Not caught: nothing is left open here.
    """
    for name, value in (("n", True), ("approved", 0), ("items", [False, 1]), ("items", [0, True])):
        ledger.change_entry = lambda e, name=name, value=value: e["body"].update({name: value})
        refused(recorder, "content")
    ledger.change_entry = lambda e: e["body"].update(n=True)
    refused(recorder, "content", body={"n": 1})
    ledger.change_entry = lambda e: e["body"].update(n=1)
    refused(recorder, "content", body={"n": True})


def test_adds_what_only_a_ledger_may_say(ledger, recorder):
    """Who: an operator who may fill in who recorded an event, and when.
    Tries: more of the person, another time, another kind of actor, as if the ledger had to add it.
    Caught by: the client, which knows the members that a ledger adds, and takes no others.
    Not caught: a wrong time of recording, within what anchors allow.
    """
    for group, name, value in (
        ("actor", "role", "AUDITOR"),
        ("actor", "auth_method", "password"),
        ("actor", "kind", "system"),
        ("time", "model_responded", "2026-11-20T10:00:00.000Z"),
        ("time", "producer", "2026-11-20T10:00:01.000Z"),
        ("aggregate", "type", "Export"),
        ("aggregate", "id", "other"),
    ):
        ledger.change_entry = lambda e, g=group, n=name, v=value: e[g].update({n: v})
        refused(recorder, "content")


def test_answers_with_the_checkpoint_of_before(ledger, recorder):
    """Who: an operator whose checkpoint of a moment ago the client has believed.
    Tries: that signed checkpoint again, around an entry that it does not cover.
    Caught by: the path, which is followed for every receipt: remembered is only who signed what.
    Not caught: nothing is left open here.
    """
    before = post(recorder).wire()
    post(recorder)

    def again(members):
        members["checkpoint"], members["size"] = before["checkpoint"], before["size"]
        head = members["proof"].partition("\n\n")[0]
        members["proof"] = f"{head}\n\n{before['checkpoint']}"

    ledger.change_receipt = again
    refused(recorder, "inclusion")
