# SPDX-License-Identifier: GPL-3.0-or-later
"""Graphs and histories of ComfyUI, also those that nobody would draw."""

import io
import json
import time

import pytest
from comfy_harness import GRAPH

from sealtrail.providers.comfyui import (
    ComfyUi,
    asked_of,
    error_of,
    files_of,
    others_of,
    outcome,
)
from sealtrail.providers.exchange import Unspeakable

pytestmark = pytest.mark.once

FILE = {"filename": "x.png", "subfolder": "a", "type": "temp"}


def _entry(*, outputs=None, **status):
    return {"outputs": outputs or {}, "status": status}


def test_a_graph_says_what_it_asks_for():
    asked = asked_of(GRAPH, "comfyui")
    assert asked.model["name"] == "painter.safetensors"
    assert (asked.sealed["prompt.user"], asked.sealed["prompt.negative"]) == (
        "a lighthouse",
        "blur",
    )
    assert (asked.operation, asked.input_type, asked.params["seed"]) == ("generate", "text", "7")


def test_loras_and_masks_are_named():
    """Every file of weights, and inputs by their roles; an unknown input has no digest."""
    graph = {
        **GRAPH,
        "8": {"class_type": "LoraLoader", "inputs": {"lora_name": "fog.safetensors"}},
        "9": {"class_type": "LoadImageMask", "inputs": {"image": "mask.png"}},
    }
    asked = asked_of(graph, "comfyui", {"other.png": "sha256:" + "0" * 64})
    assert asked.model["name"] == "painter.safetensors + fog.safetensors"
    assert (asked.operation, asked.inputs) == ("inpaint", [{"type": "image", "role": "mask"}])
    assert "inputs[0].sha256" not in asked.sealed


def test_a_graph_full_of_circles_is_read_at_once():
    """Somebody links forty nodes to each other; following all ways would take for ever."""
    names = [str(at) for at in range(40)]
    links = {f"in{one}": [one, 0] for one in names}
    graph = {one: {"class_type": "X", "inputs": {"text": one, **links}} for one in names}
    graph["s"] = {"class_type": "KSampler", "inputs": {"sampler_name": "e", "positive": ["0", 0]}}
    began = time.monotonic()
    asked = asked_of(graph, "comfyui")
    assert time.monotonic() - began < 1
    assert len(asked.sealed["prompt.user"].splitlines()) == 40


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param({"1": 5, "2": None, "3": []}, id="no nodes"),
        pytest.param({"1": {"class_type": 7, "inputs": [1]}}, id="no inputs"),
        pytest.param(
            {"1": {"class_type": "K", "inputs": {"sampler_name": 1, "positive": [[]], "cfg": {}}}},
            id="wrong kinds",
        ),
        pytest.param({"1": {"inputs": {"ckpt_name": "x" * 5_000, "seed": 1e400}}}, id="too much"),
    ],
)
def test_a_strange_graph_is_read_or_refused(graph):
    body = io.BytesIO(json.dumps({"prompt": graph}).encode())
    asked = ComfyUi().asked("/prompt", {}, body)
    assert asked.model["provider"] == "comfyui"
    assert len(asked.model["name"]) <= 256


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"prompt": {}}', b'{"prompt": "x"}'])
def test_what_is_no_graph_is_not_recordable(body):
    with pytest.raises(Unspeakable):
        ComfyUi().asked("/prompt", {}, io.BytesIO(body))


def test_a_history_ends_well_badly_or_not_yet():
    assert outcome(_entry(status_str="success", completed=True)) == "success"
    assert outcome(_entry(status_str="error", completed=False)) == "error"
    assert outcome(_entry(status_str="running", completed=False)) is None
    assert outcome({"outputs": {}}) is None
    assert outcome({"outputs": {"7": {"images": [FILE]}}}) == "success"  # Of older servers.


def test_what_came_out_is_files_and_the_rest():
    """Files of all kinds, each once; texts besides, in one piece."""
    outputs = {
        "1": {"images": [FILE, FILE], "animated": [False]},
        "2": {"gifs": [{"filename": "y.mp4"}], "text": ["a caption", 0.5]},
        "3": None,
    }
    entry = _entry(outputs=outputs)
    assert files_of(entry) == [("x.png", "a", "temp"), ("y.mp4", "", "output")]
    assert json.loads(others_of(entry)) == {"2": {"text": ["a caption", 0.5]}}
    assert others_of(_entry(outputs={"1": {"images": [FILE]}})) is None


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        pytest.param([["execution_interrupted", {}]], "interrupted", id="interrupted"),
        pytest.param(
            [["execution_start", {}], ["execution_error", {"exception_type": "torch.OOM"}]],
            "torch.OOM",
            id="broke",
        ),
        pytest.param([], "execution-error", id="no word"),
        pytest.param([5, ["x"], ["execution_error", 7]], "execution-error", id="strange"),
        pytest.param(None, "execution-error", id="nothing"),
    ],
)
def test_an_error_has_its_own_code(messages, code):
    told = error_of(_entry(status_str="error", messages=messages))
    assert (told.type, told.body["error"]["code"]) == ("GEN_ERROR", code)


def test_strange_outputs_are_no_accident():
    odd = {"1": {"images": [{"filename": {"a": 1}, "subfolder": [], "type": None}]}, "2": [1]}
    assert len(files_of(_entry(outputs=odd))) == 1
    assert others_of(_entry(outputs={"1": {"x": float("nan"), "y": "\ud800"}})) is not None
