# SPDX-License-Identifier: GPL-3.0-or-later
"""ComfyUI behind the gateway: queued now, shown once its outcome is on record (harness)."""

import io
import uuid
from hashlib import sha256

import httpx2
import pytest
from comfy_harness import GRAPH, PromptServer, comfy_serving
from gateway_world import PERSON_KEY, gating, settings_for

from sealtrail.providers.comfyui import ComfyUi
from sealtrail_gateway.settings import KnownKey, Upstream

pytestmark = pytest.mark.once

_OTHER_KEY = "stg_a key of another person"


@pytest.fixture
def comfy():
    return PromptServer()


@pytest.fixture
def through(world, comfy):
    """A client that speaks to the harness through a gateway."""
    with _gateway(world, comfy) as client:
        yield client


class _gateway:  # noqa: N801 - used as a function
    def __init__(self, world, comfy, **changes):
        self._world, self._comfy, self._changes = world, comfy, changes

    def __enter__(self):
        self._serving = comfy_serving(self._comfy)
        address = self._serving.__enter__()
        upstream = Upstream(name="comfyui", url=address, reader="comfyui", credential="")
        settings = settings_for(self._world.service, "http://127.0.0.1:9")
        callers = dict(settings.callers)
        callers[sha256(_OTHER_KEY.encode()).hexdigest()] = KnownKey(person="emp-8")
        settings = settings_for(
            self._world.service,
            "http://127.0.0.1:9",
            upstreams={"comfyui": upstream},
            callers=callers,
            **self._changes,
        )
        self._gating = gating(settings, attempts=1)
        url = self._gating.__enter__()
        headers = {"authorization": f"Bearer {PERSON_KEY}"}
        self._client = httpx2.Client(base_url=f"{url}/comfyui", headers=headers, timeout=30)
        return self._client

    def __exit__(self, *problem):
        self._client.close()
        self._gating.__exit__(*problem)
        self._serving.__exit__(*problem)


def _asked(client, graph=GRAPH, **more):
    return client.post("/prompt", json={"prompt": graph, **more})


def _view(client, file, **more):
    return client.get("/view", params={"filename": file, "subfolder": "", "type": "output", **more})


def test_a_prompt_is_an_attempt_and_its_history_the_outcome(through, comfy, world):
    """The id at once; the files' digests on record before the history names the files."""
    comfy.waits = True
    answer = _asked(through)
    prompt_id = answer.json()["prompt_id"]
    assert world.types == ["GEN_ATTEMPT"]
    assert answer.headers["x-audit-event-id"] == world.entries[0]["event_id"]
    assert through.get(f"/history/{prompt_id}").json() == {}
    comfy.work()
    assert _view(through, "x_00000_.png").status_code == 404
    shown = through.get(f"/history/{prompt_id}").json()
    assert world.types == ["GEN_ATTEMPT", "GEN"]
    (file,) = shown[prompt_id]["outputs"]["7"]["images"]
    data = _view(through, file["filename"]).content
    outputs = world.entries[1]["body"]["outputs"]
    assert [one["sha256"] for one in outputs] == [f"sha256:{sha256(data).hexdigest()}"]
    assert world.entries[0]["body"]["params"]["seed"] == "7"
    assert world.values(world.entries[0])["prompt.user"] == "a lighthouse"


def test_a_history_is_asked_for_again_and_recorded_once(through, world):
    prompt_id = _asked(through).json()["prompt_id"]
    first, again = (through.get(f"/api/history/{prompt_id}").json() for _ in range(2))
    assert first == again
    assert world.types == ["GEN_ATTEMPT", "GEN"]


def test_a_file_that_has_changed_is_not_shown(through, comfy):
    """Somebody writes over a picture whose digest is on record."""
    prompt_id = _asked(through).json()["prompt_id"]
    through.get(f"/history/{prompt_id}")
    comfy.files["x_00000_.png", "", "output"] = b"another"
    assert _view(through, "x_00000_.png").status_code == 409


def test_another_person_sees_neither_history_nor_file(through):
    prompt_id = _asked(through).json()["prompt_id"]
    through.get(f"/history/{prompt_id}")
    through.headers["authorization"] = f"Bearer {_OTHER_KEY}"
    assert through.get(f"/history/{prompt_id}").status_code == 404
    assert _view(through, "x_00000_.png").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/history", "/queue", "/api/jobs", "/prompt/../history", "/internal/files/output", "/"],
)
def test_what_would_show_everybodys_pictures_is_refused(through, path):
    _asked(through)
    assert ComfyUi().kind("GET", path) == "unknown"
    assert through.get(path).status_code == 403


def test_a_smaller_copy_is_another_picture(through):
    prompt_id = _asked(through).json()["prompt_id"]
    through.get(f"/history/{prompt_id}")
    assert _view(through, "x_00000_.png", preview="webp;90").status_code == 403


def test_a_prompt_that_fails_is_an_error_on_record(through, comfy, world):
    """While it runs, and before: both end their attempt."""
    comfy.fails = True
    prompt_id = _asked(through).json()["prompt_id"]
    assert through.get(f"/history/{prompt_id}").status_code == 200
    assert _asked(through, {"1": {"class_type": "Unheard", "inputs": {}}}).status_code == 400
    assert world.types == ["GEN_ATTEMPT", "GEN_ERROR"] * 2
    codes = [entry["body"]["error"]["code"] for entry in world.entries[1::2]]
    assert codes == ["RuntimeError", "invalid_prompt"]


def test_an_upload_is_known_by_its_digest_in_the_prompt_that_loads_it(through, world):
    data = b"\x89PNG\r\n\x1a\n a source"
    sent = {"image": ("source.png", io.BytesIO(data), "image/png")}
    assert through.post("/upload/image", files=sent).json()["name"] == "source.png"
    loader = {"class_type": "LoadImage", "inputs": {"image": "source.png"}}
    _asked(through, {**GRAPH, "8": loader})
    attempt = world.entries[0]
    assert attempt["body"]["inputs"] == [{"type": "image", "role": "source"}]
    digest = f"sha256:{sha256(data).hexdigest()}"
    assert world.values(attempt)["inputs[0].sha256"] == digest


def test_an_id_that_is_taken_is_refused(through, comfy):
    """Somebody chooses the id of another person's prompt, to be shown its history."""
    prompt_id = _asked(through).json()["prompt_id"]
    assert _asked(through, prompt_id=prompt_id).status_code == 409
    assert len(comfy.calls) == 1


def test_an_id_of_before_is_refused(world, comfy):
    """Its history is there already: that of a prompt which this gateway has not recorded."""
    with _gateway(world, comfy) as client:
        prompt_id = _asked(client).json()["prompt_id"]
    with _gateway(world, comfy) as client:
        assert _asked(client, prompt_id=prompt_id).status_code == 409
        assert _asked(client, prompt_id="../prompt").status_code == 400
        assert _asked(client, prompt_id=str(uuid.uuid4())).status_code == 200
    assert len(comfy.calls) == 2


def test_without_a_ledger_nothing_is_queued(world, comfy):
    """503 in ComfyUI's own shape, and its books are empty."""
    with _gateway(world, comfy, ledger_url="http://127.0.0.1:9") as client:
        answer = _asked(client)
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "audit-unavailable"
    assert comfy.queue == comfy.calls == []


def test_a_gateway_that_was_started_anew_shows_nothing_of_before(world, comfy):
    with _gateway(world, comfy) as client:
        prompt_id = _asked(client).json()["prompt_id"]
    with _gateway(world, comfy) as client:
        assert client.get(f"/history/{prompt_id}").status_code == 404
