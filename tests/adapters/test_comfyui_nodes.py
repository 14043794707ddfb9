# SPDX-License-Identifier: GPL-3.0-or-later
"""Our handler and our node in what ComfyUI's server does with a prompt, restated (harness)."""

import io
import json
import sys
from hashlib import sha256
from types import ModuleType

import numpy as np
import pytest
from comfy_harness import GRAPH, FolderPaths, PromptServer, graph_with
from PIL import Image

from sealtrail import comfyui

pytestmark = pytest.mark.once

AUDITED = graph_with(comfyui.NODE)


@pytest.fixture
def comfy(monkeypatch, tmp_path):
    """A server with the modules under which ComfyUI's nodes find it."""
    server = PromptServer()
    server.nodes[comfyui.NODE] = comfyui.AuditedSaveImage
    (tmp_path / "output").mkdir()
    modules = {
        "server": {"PromptServer": type("PromptServer", (), {"instance": server})},
        "nodes": {"NODE_CLASS_MAPPINGS": server.nodes},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    server.output = tmp_path / "output"
    monkeypatch.setitem(sys.modules, "folder_paths", FolderPaths(server.output))
    return server


def _install(trail, person="emp-7"):
    return comfyui.install(lambda: trail, lambda _: person)


def test_a_prompt_is_on_record_before_it_is_queued_and_its_picture_before_it_is_saved(
    comfy, trail, recorded
):
    """Sampler, texts and weights from the graph; the file's digest and its pixels'."""
    _install(trail)
    comfy.waits = True
    status, answer = comfy.post_prompt({"prompt": AUDITED})
    assert (status, recorded.types) == (200, ["GEN_ATTEMPT"])
    comfy.work()
    attempt, outcome = recorded.entries
    assert outcome["type"] == "GEN"
    assert attempt["body"]["params"] == {
        "seed": "7",
        "steps": 20,
        "cfg_scale": "7.5",
        "strength": "1",
        "sampler": "euler",
        "scheduler": "normal",
        "width": 64,
        "height": 32,
        "n": 1,
    }
    assert attempt["body"]["model"]["name"] == "painter.safetensors"
    values = recorded.values(attempt)
    assert (values["prompt.user"], values["prompt.negative"]) == ("a lighthouse", "blur")
    assert json.loads(values["prompt.rendered"]) == AUDITED
    file = next(comfy.output.iterdir())
    told = outcome["body"]["outputs"][0]
    assert told["sha256"] == f"sha256:{sha256(file.read_bytes()).hexdigest()}"
    with Image.open(io.BytesIO(file.read_bytes())) as shown:
        assert told["pixel_sha256"] == f"sha256:{sha256(shown.tobytes()).hexdigest()}"
        assert json.loads(shown.info["sealtrail"]) == {"event_id": attempt["event_id"]}
        assert json.loads(shown.info["prompt"]) == AUDITED
    listed = comfy.history[answer["prompt_id"]]["outputs"]["7"]["images"]
    assert [one["filename"] for one in listed] == [file.name]


def test_without_a_ledger_a_prompt_is_answered_with_400(comfy, nobody):
    """The handler hands back no prompt, because ComfyUI would queue it after an exception."""
    _install(nobody)
    status, answer = comfy.post_prompt({"prompt": AUDITED})
    assert (status, answer["error"]["type"]) == (400, "no_prompt")
    assert comfy.calls == []


def test_a_handler_that_raises_is_not_heard(comfy):
    """Why ours does not: what it is meant to stop is queued all the same."""

    def refuse(_):
        raise RuntimeError("the ledger is away")

    comfy.add_on_prompt_handler(refuse)
    assert comfy.post_prompt({"prompt": GRAPH})[0] == 200
    assert len(comfy.calls) == 1


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(GRAPH, id="none of ours"),
        pytest.param(
            {**AUDITED, "8": {"class_type": "SaveImage", "inputs": {}}}, id="another beside it"
        ),
        pytest.param({**AUDITED, "8": {"class_type": "Unheard", "inputs": {}}}, id="unknown"),
        pytest.param([], id="no graph"),
    ],
)
def test_a_graph_that_puts_something_out_unrecorded_is_refused(comfy, trail, recorded, graph):
    _install(trail)
    assert comfy.post_prompt({"prompt": graph})[0] == 400
    assert recorded.types == []


def test_a_setting_that_is_missing_refuses_prompts(comfy, monkeypatch):
    """No person, no ledger's address: nothing is queued, and the custom node loads all the same."""
    for name in ("SEALTRAIL_URL", "SEALTRAIL_LEDGER", comfyui.PERSON):
        monkeypatch.delenv(name, raising=False)
    comfyui.install()
    assert comfy.post_prompt({"prompt": AUDITED})[0] == 400


def test_a_node_without_an_open_attempt_writes_no_file(comfy, trail):
    """A queue that outlived its server: nobody knows the attempt any more, and the node raises."""
    _install(trail)
    comfy.waits = True
    comfy.post_prompt({"prompt": AUDITED})
    _install(trail)  # A new server, with an empty memory.
    comfy.work()
    (entry,) = comfy.history.values()
    assert entry["status"]["messages"][0][1]["exception_type"] == "AuditUnavailable"
    assert list(comfy.output.iterdir()) == []


def test_a_prompt_that_was_used_is_not_used_again(comfy, trail, recorded):
    """Somebody copies what the handler put in: there is no second outcome for one attempt."""
    _install(trail)
    comfy.waits = True
    comfy.post_prompt({"prompt": AUDITED})
    comfy.queue.append(("copied", *comfy.queue[0][1:]))
    comfy.work()
    assert comfy.history["copied"]["status"]["status_str"] == "error"
    assert recorded.types == ["GEN_ATTEMPT", "GEN"]
    assert len(list(comfy.output.iterdir())) == 1


def test_two_saving_nodes_are_two_attempts(comfy, trail, recorded):
    _install(trail)
    comfy.post_prompt({"prompt": {**AUDITED, "8": AUDITED["7"]}})
    assert recorded.types == ["GEN_ATTEMPT", "GEN_ATTEMPT", "GEN", "GEN"]


def test_pictures_that_cannot_be_encoded_are_an_error_on_record(comfy, trail, recorded):
    _install(trail)
    comfy.paint = lambda: [object()]
    comfy.post_prompt({"prompt": AUDITED})
    assert recorded.types == ["GEN_ATTEMPT", "GEN_ERROR"]


def test_a_large_batch_is_listed_in_one_output_more(comfy, trail, recorded):
    """Seventy pictures: no entry is too large for them, and each one's digest is on record."""
    _install(trail)
    comfy.paint = lambda: np.zeros((70, 8, 8, 3), dtype="float32")
    comfy.post_prompt({"prompt": AUDITED})
    outputs = recorded.entries[1]["body"]["outputs"]
    assert (len(outputs), outputs[-1]["mime"]) == (40, "application/json")
    assert len(list(comfy.output.iterdir())) == 70
