# SPDX-License-Identifier: GPL-3.0-or-later
"""The article's sample record goes in through the real interface, and each value is found again.

The sample's shortened digests are given real ones, its tenths of a second stay what they are.
"""

import hashlib
import json
import re
from base64 import b64decode
from decimal import Decimal
from pathlib import Path

import pytest
from house import Hand, event_id, house_in, noon_before, record_key
from served_house import serving

from anchoring.checkpoint import verifier_key
from anchoring.night import Night
from evidence.fields.sample import HOW, describe, places
from ledger import clock
from sealtrail.verify.disclosure import digest, open_disclosure
from sealtrail.verify.merkle import check_inclusion, leaf_hash
from sealtrail.verify.note import open_checkpoint

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
ARTICLE = ROOT / ".." / "shared" / "seeds" / "audit-trail-for-generative-ai-outputs.txt"
#: What the article says in its words, and this ledger in its own.
WORDS = {"end_user": "END_USER", "pending": "opened", True: "opt_in"}


def digest_of(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def real(value):
    """The sample with digests, a prompt and a file's place that could be."""
    if isinstance(value, dict):
        return {name: real(one) for name, one in value.items()}
    if isinstance(value, list):
        return [real(one) for one in value]
    if isinstance(value, str) and value.startswith("sha256:"):
        return digest_of(value)
    return "make it look like winter" if value == "" else value


@pytest.fixture(scope="module")
def sample():
    """The article's own, where it is here; else one of the same form."""
    if not ARTICLE.is_file():
        pytest.skip("the article (../shared/seeds) is not here")
    found = re.search(r"^\{$.*?^\}$", ARTICLE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return real(json.loads(found[0]))


def one_of(sample):
    """Return what makes a request of the sample's user."""

    def one(type_, aggregate, body, **more):
        return {
            "event_id": event_id(),
            "type": type_,
            "schema": 1,
            "aggregate_id": aggregate,
            "on_behalf_of": sample["user"]["user_id_hash"],
            "body": body,
            "record_key": record_key(),
            **more,
        }

    return one


def before(sample):
    """What happens before the model is asked: words, a consent, an upload."""
    one, consent = one_of(sample), sample["consent"]
    attachment = sample["request"]["attachments"][0]
    text = {"version": "3", "digest": consent["consent_text_hash"], "on_revocation": "erase"}
    granted = {
        "consent": {
            "text_id": "consent-text",
            "text_version": "3",
            "text_digest": consent["consent_text_hash"],
            "action": "opt_in" if consent["accepted"] else "opt_out",
            "method": "click",
            "given_at": consent["consent_time"],
        }
    }
    return {
        "text": one("CONSENT_TEXT_PUBLISHED", "consent-text", text),
        "consent": one("CONSENT_GRANTED", consent["consent_id"], granted),
        "asset": one(
            "INGEST",
            "upload-1",
            {"asset": {"type": "image"}, "rights": {"basis": "UNKNOWN"}},
            sealed={
                "asset.sha256": attachment["sha256"],
                "asset.name": attachment["name"],
                "asset.full_ref": attachment["sha256"],
            },
        ),
    }


def attempt_of(sample, stream):
    """The attempt, recorded before the model is called."""
    user, request, model = sample["user"], sample["request"], sample["model"]
    asked = {
        "operation": "edit",
        "input_type": "text+image",
        "model": {
            "provider": model["provider"],
            "name": model["model_name"],
            "version": model["model_build_id"],
            "build_id": model["model_build_id"],
            "manifest": model["model_fingerprint"],
        },
        "params": {name: str(value) for name, value in model["params"].items()},
        "prompt": {"template": {"id": request["prompt_template_id"], "version": "2"}},
        "inputs": [{"ref_asset": "upload-1", "type": "image", "role": "source"}],
        "consent_ids": [sample["consent"]["consent_id"]],
    }
    return one_of(sample)(
        "GEN_ATTEMPT",
        stream,
        asked,
        time={"producer": sample["created_at"]},
        producer={"id": "https://app.example", "event_id": sample["event_id"]},
        actor={"kind": "human", "role": user["role"].upper()},
        sealed={
            "actor.account_id": user["account_id"],
            "actor.session_id": user["session_id"],
            "prompt.user": request["prompt_raw"],
            "prompt.rendered": f"<user>{request['prompt_raw']}</user>",
            "inputs[0].sha256": request["attachments"][0]["sha256"],
        },
    )


def events(sample):
    """The seven events that the sample becomes, by name, in the order in which they happen."""
    one, stream = one_of(sample), event_id()
    labels = sample["response"]["safety_labels"]
    return {
        **before(sample),
        "attempt": attempt_of(sample, stream),
        "moderation": one(
            "MODERATION",
            stream,
            {
                "mod": {
                    "stage": "post_output",
                    "classifier": {"id": "labels", "version": "4"},
                    "filter_action": "escalate",
                    "labels": labels,
                }
            },
        ),
        "review": one("HUMAN_REVIEW", stream, {"review": {"queue": "minors", "state": "opened"}}),
        "outcome": one(
            "GEN",
            stream,
            {
                "outputs": [
                    {
                        "asset_id": "answer-1",
                        "sha256": sample["response"]["output_hash"],
                        "mime": "application/json",
                        "ref": sample["response"]["response_ref"],
                        "safety_labels": labels,
                        "disposition": "quarantined",
                    }
                ]
            },
        ),
    }


@pytest.fixture(scope="module")
def read_back(sample, pattern, authority, tmp_path_factory):
    """Everything that the table names, as an auditor and a stranger get it over HTTP."""
    directory = tmp_path_factory.mktemp("sample")
    with house_in(pattern, directory, now_ms=Hand(noon_before(1))) as house, serving(house) as api:
        sent = events(sample)
        answers = {name: api.post(one) for name, one in sent.items()}
        assert {name: one.status_code for name, one in answers.items()} == dict.fromkeys(sent, 201)
        day = clock.day_of(house.now_ms())
        house.now_ms.move(hours=12, seconds=300)
        list(Night(house.book, [authority.authority()]).catch_up(house.now_ms()))
        found = {"receipt": answers["attempt"].json()}
        for name, one in sent.items():
            asked = ",".join(["actor.subject_id", *one.get("sealed", ())])
            found[name] = api.get(f"/v1/events/{one['event_id']}?disclose={asked}").json()
        (epoch,) = house.book.reader.of_topic("EPOCH_SEALED/1")
        found["epoch"] = api.get(f"/v1/events/{epoch.entry.event_id}").json()
        found["proof"] = api.get(f"/v1/events/{sent['attempt']['event_id']}/proof").json()
        found["anchor"] = api.public(f"/anchors/{day}").json()
        found["house"] = house
        yield found


def resolve(document, pointer):
    """Follow a JSON pointer; a disclosure's name is one step."""
    for step in pointer[1:].split("/"):
        document = document[int(step) if isinstance(document, list) else step]
    return document


def leaves(value, path=""):
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for name, one in items for found in leaves(one, f"{path}/{name}")]
    return [path]


def test_each_value_of_the_sample_has_a_place(sample):
    """Every pointer of the JSON is in the table, in its order, and nothing else is."""
    assert [one.pointer for one in places()] == leaves(sample)


@pytest.mark.parametrize("place", list(places()), ids=lambda place: place.pointer)
def test_a_value_is_read_back_with_its_meaning(sample, read_back, place):
    """Over HTTP, at the pointer that the table names, and said as the table says."""
    value = resolve(sample, place.pointer)
    document = read_back[place.document]
    found = resolve(document, place.there)

    if place.how == "same":
        assert found == value
    elif place.how == "number":
        assert Decimal(found) == Decimal(str(value))
    elif place.how == "word":
        assert found == WORDS[value]
    elif place.how == "committed":
        assert open_disclosure(found)[2] == value
        assert digest(found) in document["content"]["_sd"]
    elif place.how == "digest":
        digest_ = resolve(sample, place.pointer.replace("store", "sha256"))
        assert open_disclosure(found)[2] == digest_
    else:
        assert place.how == "proved"
        PROVED[place.pointer](found, read_back)


def of_rendered(found, read_back):
    """The hash of what the model was given: salted, so that nobody can guess the input."""
    assert digest(found) in read_back["attempt"]["content"]["_sd"]
    assert open_disclosure(found)[2].startswith("<user>")


def of_entry(found, read_back):
    """The hash of all that was recorded of the call."""
    data = b64decode(read_back["attempt"]["entry"])
    assert found == "sha256:" + leaf_hash(data).hex()


def of_chain(found, read_back):
    """The MAC over the chain up to the day's last entry, the sample's own among them."""
    body = read_back["epoch"]["content"]["body"]
    last = read_back["house"].book.reader.at(body["last_n"])
    assert found == f"hmac-sha256:{last.mac.hex()}"
    assert read_back["receipt"]["position"] <= body["last_n"]


def of_log(found, read_back):
    """The log's signature over a root that the entry's path leads to."""
    house, proof = read_back["house"], read_back["proof"]
    _, checkpoint = open_checkpoint(
        found.encode(), origin=house.origin, keys=[verifier_key(house.keys, house.origin)]
    )
    check_inclusion(
        leaf=bytes.fromhex(proof["leaf"][7:]),
        index=proof["position"],
        size=checkpoint.size,
        path=[bytes.fromhex(node[7:]) for node in proof["path"]],
        root=checkpoint.root,
    )


def of_root(found, read_back):
    """The root of a tree in which the call is."""
    anchor = read_back["anchor"]["anchors"][0]
    assert found == anchor["root"]
    assert read_back["receipt"]["position"] < anchor["size"]
    assert anchor["recorded"] is True


def of_time(found, read_back):
    """When an authority stamped it: after it was recorded."""
    assert found >= read_back["receipt"]["recorded_at"]


PROVED = {
    "/request/input_hash": of_rendered,
    "/integrity/payload_hash": of_entry,
    "/integrity/hmac": of_chain,
    "/integrity/signature": of_log,
    "/integrity/anchor/merkle_root": of_root,
    "/integrity/anchor/published_at": of_time,
}


def test_no_personal_value_of_the_sample_is_clear(sample, read_back):
    """Neither in an entry's bytes nor in a proof."""
    entries = [
        one["entry"] for name, one in read_back.items() if name != "house" and "entry" in one
    ]
    clear = b"".join(map(b64decode, entries)) + json.dumps(read_back["proof"]).encode()

    assert len(clear) > 3_000
    for pointer in ("/user/account_id", "/user/session_id", "/user/user_id_hash",
                    "/request/prompt_raw", "/request/attachments/0/name"):  # fmt: skip
        assert resolve(sample, pointer).encode() not in clear


def test_the_page_is_current():
    """`python -m evidence.fields.sample > docs/sample-record.md` was run after the last change."""
    assert (ROOT / "docs" / "sample-record.md").read_text("utf-8") == describe()
    assert {one.how for one in places()} == set(HOW)
