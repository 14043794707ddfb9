# SPDX-License-Identifier: GPL-3.0-or-later
"""A pipeline of diffusers on the processor: what is on record of a call, and that none goes by."""

import json
from hashlib import sha256

import pytest
from tiny_pipeline import tiny_pipeline

from sealtrail import AuditUnavailable
from sealtrail.content import content_of
from sealtrail.verify import canonical

for _library in ("torch", "diffusers", "transformers"):
    pytest.importorskip(_library, reason=f"{_library} is not installed")

pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore")]

PROMPT = "a lighthouse in the fog"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def pipe(made):
    """The pipeline as it was before anybody watched it."""
    made.__class__ = getattr(type(made), "_sealtrail_unwatched", type(made))
    return made


def _generator(seed=7):
    import torch

    return torch.Generator().manual_seed(seed)


def _asked(**more):
    return {"num_inference_steps": 2, "height": 16, "width": 16, **more}


def _rendered(recorded, at=0):
    return json.loads(recorded.values(recorded.entries[at])["prompt.rendered"])


def test_a_call_is_recorded_with_all_that_decides_its_picture(pipe, trail, recorded):
    """Arguments sealed, scheduler and seed clear, the picture by bytes and by pixels."""
    with trail.acting_for("emp-7"):
        picture = trail.watch(pipe)(PROMPT, generator=_generator(), **_asked()).images[0]
    attempt, outcome = recorded.entries
    assert recorded.types == ["GEN_ATTEMPT", "GEN"]
    assert attempt["body"]["params"] == {
        "steps": 2,
        "cfg_scale": "7.5",
        "width": 16,
        "height": 16,
        "seed": "7",
        "scheduler": "EulerDiscreteScheduler",
        "n": 1,
    }
    assert recorded.values(attempt)["prompt.user"] == PROMPT
    output = outcome["body"]["outputs"][0]
    assert output["pixel_sha256"] == f"sha256:{sha256(picture.tobytes()).hexdigest()}"
    assert (output["w"], output["h"]) == (16, 16)
    assert outcome["body"]["replay"]["deterministic"] is True


def test_the_same_seed_twice_is_told_apart_by_the_generators_state(pipe, trail, recorded):
    """A generator that was used has its seed still; its next picture is another one."""
    watched, generator = trail.watch(pipe), _generator()
    with trail.acting_for("emp-7"):
        one, two = (watched(PROMPT, generator=generator, **_asked()).images[0] for _ in range(2))
        again = watched(PROMPT, generator=_generator(), **_asked()).images[0]
    first, second, third = (_rendered(recorded, at)["environment"]["random"][0] for at in (0, 2, 4))
    assert one.tobytes() != two.tobytes()
    assert first["seed"] == second["seed"] == "7"
    assert first["state"] != second["state"]
    assert one.tobytes() == again.tobytes()
    assert first == third
    environments = {entry["body"]["replay"]["env_digest"] for entry in recorded.entries[1::2]}
    assert len(environments) == 2


def test_what_was_recorded_leads_to_the_digest_of_the_environment(pipe, trail, recorded):
    """Whoever opens the commitment can compute both digests that stand in the clear."""
    with trail.acting_for("emp-7"):
        trail.watch(pipe)(PROMPT, **_asked())
    rendered = _rendered(recorded)
    attempt, outcome = recorded.entries

    def digest(members):
        return f"sha256:{sha256(canonical.encode(members)).hexdigest()}"

    assert digest(rendered["environment"]) == outcome["body"]["replay"]["env_digest"]
    assert digest(rendered["manifest"]) == attempt["body"]["model"]["manifest"]
    assert rendered["environment"]["random"][0]["given"] is False
    assert "torch" in rendered["environment"]["libraries"]


def test_files_are_fingerprinted_and_another_byte_is_another_model(pipe, trail, tmp_path):
    """A saved model is known by its files; one weight changed is seen in the manifest."""
    from diffusers import StableDiffusionPipeline

    from sealtrail.diffusers import model_of

    watched = trail.watch(pipe)
    watched.save_pretrained(tmp_path / "painter")
    index = json.loads((tmp_path / "painter" / "model_index.json").read_text("utf-8"))
    assert index["_class_name"] == "StableDiffusionPipeline"
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path / "painter")
    model, manifest = model_of(loaded, "StableDiffusionPipeline")
    weights = next((tmp_path / "painter" / "unet").glob("*.safetensors"))
    listed = {one["path"]: one["sha256"] for one in manifest["components"]["unet"]["files"]}
    assert listed[weights.name] == f"sha256:{sha256(weights.read_bytes()).hexdigest()}"
    assert model["name"] == "painter"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert model_of(loaded, "StableDiffusionPipeline")[0]["manifest"] != model["manifest"]


def test_a_commit_of_a_hub_names_the_model(pipe, trail, tmp_path, recorded):
    """The folder in which a hub's client keeps a snapshot names the repository and the commit."""
    from diffusers import StableDiffusionPipeline

    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--acme--painter" / "snapshots" / commit
    pipe.save_pretrained(snapshot)
    loaded = StableDiffusionPipeline.from_pretrained(snapshot)
    loaded.set_progress_bar_config(disable=True)
    with trail.acting_for("emp-7"):
        trail.watch(loaded)(PROMPT, **_asked())
    model = recorded.entries[0]["body"]["model"]
    assert (model["name"], model["version"]) == ("acme/painter", commit)


def test_numbers_instead_of_pictures_are_recorded_as_numbers(pipe, trail, recorded):
    """`output_type="np"`: the array as numpy.save writes it, and the pixels it stands for."""
    import io

    import numpy as np

    watched = trail.watch(pipe)
    with trail.acting_for("emp-7"):
        array = watched(PROMPT, generator=_generator(), output_type="np", **_asked()).images[0]
        picture = watched(PROMPT, generator=_generator(), **_asked()).images[0]
    out = io.BytesIO()
    np.save(out, array)
    numbers, pixels = (recorded.entries[at]["body"]["outputs"][0] for at in (1, 3))
    assert numbers["sha256"] == f"sha256:{sha256(out.getvalue()).hexdigest()}"
    assert numbers["pixel_sha256"] == pixels["pixel_sha256"]
    assert picture.size == (16, 16)


def test_several_pictures_and_a_tuple_are_all_named(pipe, trail, recorded):
    """`return_dict=False` and two for each of two prompts: four outputs."""
    with trail.acting_for("emp-7"):
        pictures, _ = trail.watch(pipe)(
            [PROMPT, "fog"], num_images_per_prompt=2, return_dict=False, **_asked()
        )
    outputs = recorded.entries[1]["body"]["outputs"]
    pixels = [f"sha256:{sha256(one.tobytes()).hexdigest()}" for one in pictures]
    assert [one["pixel_sha256"] for one in outputs] == pixels
    assert recorded.entries[0]["body"]["params"]["n"] == 4


def test_a_call_that_fails_is_an_error_on_record(pipe, trail, recorded):
    """The exception is the pipeline's own; a size that it cannot paint is a GEN_ERROR."""
    with trail.acting_for("emp-7"), pytest.raises(ValueError, match="divisible"):
        trail.watch(pipe)(PROMPT, height=17, width=16)
    assert recorded.types == ["GEN_ATTEMPT", "GEN_ERROR"]


def test_without_a_ledger_nothing_is_painted(pipe, nobody, monkeypatch):
    """The network of the pipeline is not run at all."""
    ran = []
    monkeypatch.setattr(pipe.unet, "forward", lambda *_, **__: ran.append(1))
    with nobody.acting_for("emp-7"), pytest.raises(AuditUnavailable):
        nobody.watch(pipe)(PROMPT, **_asked())
    assert ran == []


def test_an_adapter_is_named_with_its_weights(pipe, trail, recorded):
    """A LoRA on top: its digest changes with its weights, and the record with it."""
    pytest.importorskip("peft", reason="peft is not installed")
    from peft import LoraConfig

    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q"]), adapter_name="fog")
    watched = trail.watch(pipe)
    with trail.acting_for("emp-7"):
        watched(PROMPT, **_asked())
        for name, one in pipe.unet.named_parameters():
            if "lora_B" in name:
                one.data += 1
        watched(PROMPT, **_asked())
    pipe.unet.delete_adapters("fog")
    one, two = (_rendered(recorded, at)["environment"]["adapters"][0] for at in (0, 2))
    assert (one["component"], one["adapter"], one["active"]) == ("unet", "fog", True)
    assert one["weights"] != two["weights"]


@pytest.fixture
def own_pipe():
    """A pipeline of a user's own class, with a film, flags, and more pictures than fit."""
    from diffusers import DiffusionPipeline, EulerDiscreteScheduler
    from PIL import Image

    class PaintInpaint(DiffusionPipeline):
        def __init__(self, scheduler):
            super().__init__()
            self.register_modules(scheduler=scheduler)

        def __call__(self, prompt, image=None, mask_image=None, kind="film", **more):
            del prompt, image, mask_image, more
            pictures = [Image.new("RGB", (4, 4), (at, 0, 0)) for at in range(70)]
            if kind == "film":
                return ([pictures],)
            if kind == "flagged":
                return (pictures[:2], [False, True])
            return (pictures,)

    return PaintInpaint(EulerDiscreteScheduler())


def test_a_film_is_one_output_of_its_frames(own_pipe, trail, recorded):
    """The list of the frames' digests, in canonical JSON."""
    with trail.acting_for("emp-7"):
        (frames,) = trail.watch(own_pipe)(PROMPT)
    pixels = [f"sha256:{sha256(one.tobytes()).hexdigest()}" for one in frames[0]]
    (output,) = recorded.entries[1]["body"]["outputs"]
    assert output["mime"] == "application/json"
    assert recorded.entries[1]["body"]["usage"]["images"] == 1
    listed = [
        {"sha256": content_of(one).sha256, "pixels": digest}
        for one, digest in zip(frames[0], pixels, strict=True)
    ]
    assert output["sha256"] == f"sha256:{sha256(canonical.encode(listed)).hexdigest()}"


def test_more_pictures_than_fit_are_summed_up_in_the_last_output(own_pipe, trail, recorded):
    with trail.acting_for("emp-7"):
        trail.watch(own_pipe)(PROMPT, kind="many")
    outputs = recorded.entries[1]["body"]["outputs"]
    assert (len(outputs), outputs[-1]["mime"]) == (40, "application/json")
    assert recorded.entries[1]["body"]["usage"]["images"] == 70


def test_a_picture_that_the_safety_checker_marked_is_labelled(own_pipe, trail, recorded):
    with trail.acting_for("emp-7"):
        trail.watch(own_pipe)(PROMPT, kind="flagged")
    labels = [one.get("safety_labels") for one in recorded.entries[1]["body"]["outputs"]]
    assert labels == [None, ["nsfw"]]


def test_pictures_among_the_arguments_are_sealed_inputs(own_pipe, trail, recorded):
    """What the pipeline is given, with its role, and further arguments by their names."""
    from PIL import Image

    source, mask = Image.new("RGB", (4, 4), "red"), Image.new("L", (4, 4), 255)
    with trail.acting_for("emp-7"):
        trail.watch(own_pipe)(PROMPT, source, mask_image=mask, kind="flagged", eta=0.5)
    attempt = recorded.entries[0]
    assert attempt["body"]["operation"] == "inpaint"
    assert attempt["body"]["input_type"] == "text+image"
    assert [one["role"] for one in attempt["body"]["inputs"]] == ["source", "mask"]
    values = recorded.values(attempt)
    digests = [values[f"inputs[{at}].sha256"] for at in range(2)]
    assert digests == [content_of(one).sha256 for one in (source, mask)]
    assert _rendered(recorded)["arguments"]["eta"] == "0.5"
