# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts over HTTP: announce, upload, resume, preview, escalate, download by a signed link."""

import hashlib
import re
import resource
import threading
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import pytest
from archiving import gallery_in, picture
from served_house import serving

from ledger.access import revoke
from ledger.database import connect

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

IMAGE = picture(640, 480)
TUS = {"content-type": "application/offset+octet-stream"}


@pytest.fixture
def service(house):
    with serving(house) as running:
        running.gallery = gallery_in(house)
        yield running


def announce(service, content=IMAGE, *, media_type="image/png", event_id=None, **changes):
    event_id = event_id or service.gallery.output_of(content)
    return service.post(
        {
            "event_id": event_id,
            "name": "outputs[0].sha256",
            "size": len(content),
            "media_type": media_type,
            **changes,
        },
        "/v1/artifacts",
    )


def send(service, url, content, offset=0, **headers):
    sent = {**TUS, "upload-offset": str(offset), **headers}
    return service.ask("PATCH", url, content=content, headers=sent)


def stored(service, content=IMAGE, **how):
    announced = announce(service, content, **how).json()
    assert send(service, announced["upload"]["url"], content).status_code == 204
    return announced["artifact_id"]


def escalate(service, artifact_id, purpose="incident-42", **body):
    headers = {} if purpose is None else {"sealtrail-purpose": purpose}
    return service.ask(
        "POST",
        f"/v1/artifacts/{artifact_id}/escalations",
        token=service.auditor,
        json=body,
        headers=headers,
    )


def code(answer):
    return answer.status_code, answer.json()["code"]


def test_an_image_goes_in_and_comes_out_by_links(service):
    """No token travels with either link, and every look is an entry before its first byte."""
    announced = announce(service)
    url = announced.json()["upload"]["url"]
    first = send(service, url, IMAGE[:10_000])
    asked = service.ask("HEAD", url)
    last = send(service, url, IMAGE[10_000:], offset=10_000)
    artifact_id = announced.json()["artifact_id"]

    assert announced.status_code == 201
    assert announced.headers["location"] == url
    assert (first.status_code, first.headers["upload-offset"]) == (204, "10000")
    assert (asked.status_code, asked.headers["upload-offset"]) == (204, "10000")
    assert asked.headers["upload-length"] == str(len(IMAGE))
    assert last.headers["sealtrail-state"] == "stored"

    known = service.get(f"/v1/artifacts/{artifact_id}").json()
    small = service.get(f"/v1/artifacts/{artifact_id}/preview")
    link = escalate(service, artifact_id)
    whole = service.ask("GET", link.json()["url"])

    assert (known["state"], known["size"]) == ("stored", len(IMAGE))
    assert small.headers["content-type"] == "image/jpeg"
    assert re.fullmatch(r"[0-9a-f]{16}", small.headers["sealtrail-phash"])
    assert len(small.content) < len(IMAGE)
    assert link.status_code == 201
    assert whole.content == IMAGE
    looks = [(look["body"]["path"], look["body"]["purpose"]) for look in service.looks]
    assert looks == [
        ("/v1/artifacts/{id}", "unstated"),
        ("/v1/artifacts/{id}/preview", "unstated"),
        ("/v1/artifacts/{id}/escalations", "incident-42"),
        ("/v1/artifacts/{id}/content", "incident-42"),
    ]
    asked_for, opened = service.looks[-2:]
    assert asked_for["actor"]["credential"] == opened["actor"]["credential"]
    assert opened["body"]["target_event_ids"] == [known["event_id"]]
    assert opened["body"]["exported"] is True


def test_an_upload_whose_connection_breaks_is_resumed(service):
    """What arrived is kept; the client asks for the offset and sends the rest."""
    content = bytes(range(256)) * 8_000
    url = announce(service, content).json()["upload"]["url"]

    def broken():
        yield content[:1_000_000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        send(service, url, broken())
    for _ in range(200):  # The server may still be writing what arrived.
        here = service.ask("HEAD", url)
        rest = send(service, url, content[int(here.headers["upload-offset"]) :],
                    offset=here.headers["upload-offset"])  # fmt: skip
        if rest.status_code == 204:
            break
        assert code(rest)[1] in {"upload-busy", "upload-offset"}

    assert rest.headers["sealtrail-state"] == "stored"


def test_wrong_bytes_wrong_offsets_and_wrong_types_are_told(service):
    """Each by its own code; nothing of it is archived."""
    url = announce(service).json()["upload"]["url"]

    assert code(send(service, url, b"x", offset=7)) == (409, "upload-offset")
    assert code(send(service, url, IMAGE + b"x")) == (413, "upload-too-large")
    service.ask("HEAD", url)
    fresh = announce(service, picture(seed=5)).json()["upload"]["url"]
    assert code(send(service, fresh, bytes(len(picture(seed=5))))) == (422, "artifact-digest")
    assert service.ask("HEAD", fresh).headers["upload-offset"] == "0"
    wrong = {"content-type": "image/png"}
    assert code(send(service, fresh, b"x", **wrong)) == (415, "upload-type")
    for offset in ("", "-1", "01", "1e3", "\u0663".encode()):
        headers = {**TUS, "upload-offset": offset}
        answer = service.ask("PATCH", fresh, content=b"x", headers=headers)
        assert code(answer) == (422, "malformed-event")


def test_announcing_refuses_what_an_event_does_not_name(service):
    """Each field has its rule."""
    event_id = service.gallery.output_of(IMAGE)

    assert announce(service, event_id=event_id).status_code == 201
    assert announce(service, event_id=event_id).status_code == 201
    assert code(announce(service, event_id=event_id, size=1)) == (409, "artifact-changed")
    for changes in ({"name": "outputs[7].sha256"}, {"name": "outputs[0].mime"}):
        assert code(announce(service, event_id=event_id, **changes)) == (404, "artifact-not-named")
    for changes in (
        {"size": -1}, {"size": 2**30 + 1}, {"size": "1"}, {"media_type": "text"}, {"name": ""},
        {"media_type": "text/html; charset=x"}, {"more": 1}, {"event_id": "x"},
    ):  # fmt: skip
        assert announce(service, **{"event_id": event_id, **changes}).status_code == 422


def test_roles_are_kept_apart(service):
    """A pipeline sees nothing of what it sent; an auditor adds nothing."""
    artifact_id = stored(service)
    paths = (f"/v1/artifacts/{artifact_id}", f"/v1/artifacts/{artifact_id}/preview",
             "/v1/artifacts?state=stored")  # fmt: skip

    for path in paths:
        assert service.ask("GET", path, token=service.pipeline).status_code == 403
        assert service.ask("GET", path).status_code == 401
    assert service.ask("GET", f"/v1/artifacts/{artifact_id}/content").status_code == 401
    upload = f"/v1/artifacts/{artifact_id}/upload"
    assert service.ask("HEAD", upload, token=service.auditor).status_code == 403
    assert service.ask("HEAD", upload, token=service.pipeline).status_code == 204
    by_token = service.ask("GET", f"/v1/artifacts/{artifact_id}/content", token=service.auditor)
    assert by_token.status_code == 401


def test_full_content_needs_a_purpose_and_a_person(service):
    """Routine work has the preview."""
    artifact_id = stored(service)
    robot = service.house.token("auditor", "pipeline", "exporter")

    assert code(escalate(service, artifact_id, purpose=None)) == (422, "malformed-event")
    answer = service.ask(
        "POST",
        f"/v1/artifacts/{artifact_id}/escalations",
        token=robot,
        json={},
        headers={"sealtrail-purpose": "incident-42"},
    )
    assert code(answer) == (403, "forbidden")
    assert service.looks == []


def test_a_link_is_for_one_artifact_one_deed_and_one_credential(service):
    """Changed, moved, used for the other deed, or after its credential was revoked: refused."""
    announced = announce(service).json()
    upload = announced["upload"]["url"]
    send(service, upload, IMAGE)
    other = stored(service, picture(seed=6))
    link = escalate(service, announced["artifact_id"]).json()["url"]
    path, _, query = link.partition("?")
    parts = dict(parse_qsl(query))
    before = len(service.looks)

    wrong = [
        f"{path}?{urlencode({**parts, name: value})}"
        for name, value in (("by", "cred_x"), ("purpose", "other"), ("expires", "9999999999999"))
    ]
    wrong += [link.replace(announced["artifact_id"], other), upload.replace("/upload", "/content")]
    for url in wrong:
        assert code(service.ask("GET", url)) == (403, "link-refused")
    assert code(send(service, link.replace("/content", "/upload"), b"x")) == (403, "link-refused")
    assert service.ask("GET", link.partition("&")[0]).status_code == 401
    assert len(service.looks) == before

    with connect(service.house.owner_url) as owner:
        revoke(owner, parts["by"])
    assert code(service.ask("GET", link)) == (403, "link-refused")


def test_what_is_missing_is_listed(service):
    """Announced, missed and stored, oldest first, a look like any other."""
    first = announce(service).json()["artifact_id"]
    second = stored(service, picture(seed=8))

    waiting = service.get("/v1/artifacts?state=announced").json()["artifacts"]
    done = service.get(f"/v1/artifacts?state=stored&after={first}").json()["artifacts"]

    assert [one["artifact_id"] for one in waiting] == [first]
    assert [one["artifact_id"] for one in done] == [second]
    assert service.get("/v1/artifacts?state=else").status_code == 422


def test_a_list_goes_on_after_an_artifact_or_says_why_not(service):
    """A place that is none is a mistake of the question, and no artifact that is missing."""
    first, second = (announce(service).json()["artifact_id"] for _ in range(2))

    rest = service.get(f"/v1/artifacts?state=announced&after={first}").json()["artifacts"]
    refused = service.get("/v1/artifacts?state=announced&after=first")

    assert [one["artifact_id"] for one in rest] == [second]
    assert code(refused) == (422, "malformed-event")
    assert refused.json()["errors"][0]["pointer"] == "/query/after"


def test_uploads_at_once_end_as_one(service):
    """Two workers with the same link: one goes on, the other is told; the content is right."""
    content = bytes(range(256)) * 4_000
    announced = announce(service, content).json()
    answers = []

    def work():
        answers.append(send(service, announced["upload"]["url"], content))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    good = [one for one in answers if one.status_code == 204]
    refused = {one.json()["code"] for one in answers if one.status_code != 204}
    assert len(good) == 1
    assert refused <= {"upload-busy", "upload-offset", "artifact-stored"}
    link = escalate(service, announced["artifact_id"]).json()["url"]
    assert service.ask("GET", link).content == content


def test_an_erased_persons_content_is_gone(service):
    """410, by link or otherwise, at once."""
    artifact_id = stored(service)
    link = escalate(service, artifact_id).json()["url"]
    row = service.gallery.artifacts.rows.in_state("stored", after=UUID(int=0), limit=1)[0]
    service.gallery.vault.begin_erasure(row.subject_ref, "erasure-7")

    assert code(service.ask("GET", link)) == (410, "values-erased")
    assert code(service.get(f"/v1/artifacts/{artifact_id}/preview")) == (410, "values-erased")
    assert code(escalate(service, artifact_id)) == (410, "values-erased")


@pytest.mark.soak
def test_a_gigabyte_goes_through_without_being_held(service):
    """Up and down, in a process that grows by no more than a few pieces."""
    block, count = bytes(range(256)) * 4_096, 1_024
    seen = hashlib.sha256()
    for _ in range(count):
        seen.update(block)
    event_id = service.gallery.output_of(b"", sha256=f"sha256:{seen.hexdigest()}")
    announced = announce(service, event_id=event_id, size=count * len(block)).json()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    sent = send(service, announced["upload"]["url"], (block for _ in range(count)))
    link = escalate(service, announced["artifact_id"]).json()["url"]
    came = hashlib.sha256()
    with service.client.stream("GET", service.url + link) as answer:
        for piece in answer.iter_bytes(2**20):
            came.update(piece)

    assert sent.headers["sealtrail-state"] == "stored"
    assert came.digest() == seen.digest()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
