# SPDX-License-Identifier: GPL-3.0-or-later
"""POST /v1/assets:similar: by picture and by hash, who may, and what is said of the limits."""

import io

import pytest
from archiving import gallery_in, picture
from house import attempt, gen, house_in
from PIL import Image
from served_house import serving

pytestmark = pytest.mark.once

HASH = {"alg": "pdq", "value": "3c" * 32}


@pytest.fixture(scope="module")
def own(postgres, tmp_path_factory):
    """A tenant with one archived output and one that came with its own fingerprint."""
    with house_in(postgres, tmp_path_factory.mktemp("similar")) as house, serving(house) as made:
        made.data = picture(640, 480, seed=5)
        made.archived = gallery_in(house).stored(made.data)
        first = attempt()
        outcome = gen(first["aggregate_id"])
        output = outcome["body"]["outputs"][0]
        output["fingerprints"] = [HASH]
        house.post(first, outcome)
        made.asset = output["asset_id"]
        yield made


def ask(own, content=None, media_type="image/png", *, query="", token=None, **more):
    headers = {} if media_type is None else {"content-type": media_type}
    return own.ask(
        "POST",
        f"/v1/assets:similar{query}",
        token=token or own.auditor,
        headers=headers,
        **({"json": more["json"]} if "json" in more else {"content": content}),
    )


def test_a_copy_leads_to_the_asset(own):
    """Scaled, compressed and sent as another type: event, position, asset, and how far it is."""
    copy = io.BytesIO()
    Image.open(io.BytesIO(own.data)).resize((320, 240)).save(copy, "JPEG", quality=60)
    looks = len(own.looks)

    answer = ask(own, copy.getvalue(), "image/jpeg")

    (found,) = answer.json()["found"]
    entry = own.house.book.reader.find(own.archived.event_id).entry.value
    assert found["event_id"] == own.archived.event_id
    assert found["asset_id"] == entry["body"]["outputs"][0]["asset_id"]
    assert (found["type"], found["field"]) == ("GEN", "outputs[0].sha256")
    assert 0 <= found["distance"] <= 31
    (look,) = own.looks[looks:]
    assert look["body"]["path"] == "/v1/assets:similar"
    assert look["body"]["target_event_ids"] == [own.archived.event_id]


def test_a_hash_leads_to_the_asset(own):
    """As it stands in fingerprints[]; what is acknowledged is found at once."""
    answer = ask(own, json=HASH, media_type=None).json()

    (found,) = answer["found"]
    assert (found["asset_id"], found["distance"], found["alg"]) == (own.asset, 0, "pdq")
    assert (answer["as_of"], answer["behind"]) == (own.size, 0)


def test_every_answer_says_what_it_does_not_say(own):
    """Near is not the same, and what is sealed was not searched."""
    answer = ask(own, picture(90, 90, seed=77)).json()

    assert answer["found"] == []
    assert any("proves nothing" in line for line in answer["limits"])
    assert any("sealed" in line for line in answer["limits"])


def test_who_may_not_read_searches_nothing(own):
    """A pipeline's token, and none."""
    assert ask(own, json=HASH, media_type=None, token=own.pipeline).status_code == 403
    path = own.url + "/v1/assets:similar"
    assert own.client.post(path, json=HASH).status_code == 401


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b'{"alg":"pdq"}', "type"),
        (b'{"alg":"pdq","value":"00"}', "fingerprint"),
        (b'{"alg":"whirlpool","value":"00"}', "fingerprint"),
        (b'{"alg":"pdq","value":"' + b"00" * 32 + b'"}', "flat"),
        (b'{"alg":"pdq","value":"00","within":3}', "type"),
        (b"[]", "type"),
    ],
)
def test_what_is_no_hash_is_refused_by_name(own, body, rule):
    """With the rule that it breaks, and without the value."""
    refused = ask(own, body, "application/json")

    assert refused.status_code == 422
    assert [one["rule"] for one in refused.json()["errors"]] == [rule]


@pytest.mark.parametrize("query", ["?within=48", "?within=-1", "?limit=0", "?limit=101"])
def test_bounds_are_bounds(own, query):
    """Whoever asks for all pictures at once gets none."""
    assert ask(own, json=HASH, media_type=None, query=query).status_code == 422


def test_the_index_lies_and_the_entry_is_asked(own):
    """A row that points to an entry without such a picture is shown to nobody."""
    other = own.post(attempt()).json()["event_id"]
    with own.house.owner() as owner:
        owner.execute(
            f"INSERT INTO {own.house.schema}.similar SELECT %s, 'outputs[7].sha256', kind,"
            " position, hash, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15"
            f" FROM {own.house.schema}.similar WHERE kind = 'pdq'",
            (other,),
        )

    found = ask(own, json=HASH, media_type=None).json()["found"]

    assert [one["asset_id"] for one in found] == [own.asset]
