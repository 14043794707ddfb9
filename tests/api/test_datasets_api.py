# SPDX-License-Identifier: GPL-3.0-or-later
"""Training sets and statements about them over HTTP, as a pipeline and an auditor use them."""

import io
import json
from hashlib import sha256

import pytest
from house import Hand, attempt, gen, house_in, ingest, noon_before
from PIL import Image
from served_house import serving

from anchoring.night import Night
from ledger import clock
from sealtrail.verify.statement import check_statement, read_statement
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

FOR = {"sealtrail-on-behalf-of": "employee%207", "content-type": "application/x-ndjson"}


def picture(shade, effort=9):
    """A PNG, in bytes; how hard it was compressed changes the bytes and no pixel."""
    image = Image.new("RGB", (4, 3), (shade, 0, 0))
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=effort)
    return out.getvalue()


def digest(data):
    return f"sha256:{sha256(data).hexdigest()}"


def asset(name, shade):
    pixels = Image.open(io.BytesIO(picture(shade))).convert("RGB").tobytes()
    clear = {"type": "image", "sha256": digest(picture(shade)), "pixel_sha256": digest(pixels)}
    return ingest(name, body={"asset": clear, "rights": {"basis": "OWNED"}})


def lines(*names):
    return "".join(json.dumps({"asset_id": name}) + "\n" for name in names).encode()


class Served:
    """A served house, with what its users send."""

    def __init__(self, service, authority):
        self.service, self.house, self.authority = service, service.house, authority
        roots = list(authority.authority().roots)
        (self.house.directory / "trust.json").write_bytes(self.house.trust(roots).print())

    def seal(self, *names, token=None, headers=None, **query):
        return self.service.ask(
            "POST",
            "/v1/datasets",
            token=token or self.service.pipeline,
            params={"dataset": "acme/faces", "version": "1", **query},
            content=lines(*names),
            headers=FOR if headers is None else headers,
        )

    def ask(self, question, token=None):
        return self.service.ask(
            "POST", "/v1/proofs/absence", token=token or self.service.auditor, json=question
        )

    def show(self, data, media_type="image/png", **query):
        return self.service.ask(
            "POST",
            "/v1/proofs/absence",
            token=self.service.auditor,
            params=query,
            content=data,
            headers={"content-type": media_type},
        )

    def night(self):
        return Night(self.house.book, [self.authority.authority()])

    def verify(self, answer, file=None):
        trust = Trust.parse((self.house.directory / "trust.json").read_bytes())
        statement = read_statement(answer.content)
        return check_statement(statement, trust=trust, now=clock.now(), file=file)


@pytest.fixture(scope="module")
def served(pattern, authority, tmp_path_factory):
    """Two sealed pictures, a third that was left out, a fourth that was put out; anchored."""
    directory = tmp_path_factory.mktemp("datasets")
    with (
        house_in(pattern, directory, now_ms=Hand(noon_before(3))) as house,
        serving(house) as service,
    ):
        made = Served(service, authority)
        start = attempt()
        output = {"asset_id": "put", "mime": "image/png", "sha256": digest(picture(40))}
        house.post(asset("one", 10), asset("two", 20), asset("three", 30), start)
        house.post(gen(start["aggregate_id"], body={"outputs": [output]}))
        made.sealed = made.seal("one", "two")
        for _ in range(2):
            house.now_ms.move(days=1)
            list(made.night().catch_up(house.now_ms()))
        yield made


def test_a_pipeline_seals_a_set_and_gets_its_receipt(served):
    """The receipt proves the entry that names the root; the manifest lies in the archive."""
    answer = served.sealed.json()

    assert served.sealed.status_code == 201
    assert answer["dataset"]["member_count"] == 2
    assert answer["receipt"]["position"] == 5
    assert answer["artifacts"] == [{"name": "dataset.manifest_digest", "state": "stored"}]


def test_sealing_again_is_a_repeat(served):
    """A pipeline that lost the answer sends the same again."""
    again = served.seal("two", "one")

    assert (again.status_code, again.headers["sealtrail-repeat"]) == (200, "true")
    assert again.json()["dataset"] == served.sealed.json()["dataset"]


def test_other_members_for_a_sealed_version_are_refused(served):
    """409, and it says that the version stays as it is."""
    answer = served.seal("one", "three")

    assert (answer.status_code, answer.json()["code"]) == (409, "dataset-sealed")


def test_a_wrong_line_is_named_by_its_number(served):
    """422 with the line's number as pointer, and nothing of what stands there."""
    answer = served.seal("one", "nobody-knows-me", version="2")

    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"], error["rule"]) == (422, "/2", "asset-unknown")
    assert "nobody" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "application/x-ndjson"}, 422, "malformed-event"),
        ({**FOR, "sealtrail-on-behalf-of": "Renderer"}, 422, "malformed-event"),
        ({**FOR, "content-type": "application/json"}, 415, "members-type"),
    ],
    ids=["nobody", "pipeline", "type"],
)
def test_a_set_is_sealed_for_a_natural_person(served, headers, status, code):
    """A pipeline that names nobody, or itself, is refused; so is another kind of body."""
    answer = served.seal("one", version="2", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_neither_may_do_the_others_work(served):
    """An auditor seals nothing; a pipeline reads nothing."""
    question = {"dataset": "acme/faces", "digests": {"bytes-sha256": digest(b"x")}}

    assert served.seal("one", version="2", token=served.service.auditor).status_code == 403
    assert served.ask(question, token=served.service.pipeline).status_code == 403


def test_a_client_that_posts_the_entry_itself_is_told_where_to_go(served):
    """DATASET_SEALED is the ledger's to record."""
    event = {**ingest("acme/faces"), "type": "DATASET_SEALED", "body": {}}

    answer = served.service.post(event)

    assert answer.status_code == 422
    assert "POST /v1/datasets" in answer.json()["errors"][0]["detail"]


def test_a_file_is_shown_not_to_be_in_the_set(served):
    """Its digests are computed here; the statement is verified, and the look is entered."""
    before = len(served.service.looks)
    data = picture(30)

    answer = served.show(data, dataset="acme/faces")

    report = served.verify(answer, file=data)
    assert (answer.status_code, answer.json()["statement"]) == (200, "absence/1")
    assert set(answer.json()["digests"]) == {"bytes-sha256", "pixel-sha256"}
    assert report.verdict == "verified"
    (look,) = served.service.looks[before:]
    assert (look["body"]["path"], look["body"]["exported"]) == ("/v1/proofs/absence", True)
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


def test_the_same_picture_in_other_bytes_is_found_by_its_pixels(served):
    """Saved again without loss: other bytes, the same pixels, the same INGEST."""
    data = picture(20, effort=0)
    assert data != picture(20)

    answer = served.show(data, dataset="acme/faces")

    assert answer.json()["statement"] == "presence/1"
    assert answer.json()["found"] == {"tag": "pixel-sha256", "position": 1}
    assert served.verify(answer).verdict == "verified"


def test_digests_alone_are_enough_and_half_of_them_is_incomplete(served):
    """Nothing is shown about the pixels, and the statement says so."""
    question = {"dataset": "acme/faces", "version": "1"}
    question["digests"] = {"bytes-sha256": digest(picture(30))}

    answer = served.ask(question)

    assert served.verify(answer, file=picture(30)).verdict == "incomplete"


def test_what_the_system_put_out_is_found_and_what_it_did_not_is_absent(served):
    """Up to the last day that has its final report."""
    day = clock.day_of(served.house.now_ms() - 2 * clock.DAY_MS)

    present = served.show(picture(40), outputs_until=day)
    absent = served.show(picture(30), outputs_until=day)

    assert present.json()["statement"] == "presence/1"
    assert served.verify(present).verdict == "verified"
    assert served.verify(absent, file=picture(30)).verdict == "verified"


X = {"bytes-sha256": digest(b"x")}


@pytest.mark.parametrize(
    ("question", "status", "code"),
    [
        ({"dataset": "acme/faces", "outputs_until": "2026-01-14"}, 422, "malformed-event"),
        ({"digests": X}, 422, "malformed-event"),
        ({"dataset": "acme/faces"}, 422, "malformed-event"),
        ({"dataset": "acme/faces", "digests": {"sha1": "00"}}, 422, "malformed-event"),
        ({"dataset": "acme/cats", "digests": X}, 404, "dataset-unknown"),
        ({"dataset": "acme/\0", "digests": X}, 422, "malformed-event"),
        ({"outputs_until": "2999-01-01", "digests": X}, 409, "outputs-open"),
        ({"outputs_until": "2026-02-30", "digests": X}, 422, "malformed-event"),
        ({"outputs_until": "0000-01-01", "digests": X}, 422, "malformed-event"),
    ],
    ids=["both", "neither", "no-digest", "kind", "unknown", "nul", "future", "no-day", "no-year"],
)
def test_a_question_that_has_no_answer_is_refused(served, question, status, code):
    """And says what is wrong with it, without a word of what was asked for."""
    answer = served.ask(question)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_file_with_a_day_that_does_not_exist_is_refused(served):
    """Not with a mistake of ours: the answer names the member and its rule."""
    answer = served.show(picture(30), outputs_until="2026-02-30")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/outputs_until"


@pytest.mark.parametrize(
    "path", ["/v1/assets?id=a%00b", "/v1/registers/models?id=%00", "/v1/registers/models?after=%00"]
)
def test_an_address_with_a_nul_is_refused(served, path):
    """No name holds one, and PostgreSQL takes none: no question of ours may fail on it."""
    answer = served.service.ask("GET", path, token=served.service.auditor)

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/query", "rule": "nul", "detail": "no parameter holds the character NUL"}
    ]
