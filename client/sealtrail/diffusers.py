# SPDX-License-Identifier: Apache-2.0
"""diffusers: calls of a pipeline in this process, with all that decides its pictures.

    pipe = trail.watch(StableDiffusionPipeline.from_pretrained(path))
    picture = pipe("a cat", generator=torch.Generator().manual_seed(7)).images[0]

The pipeline stays what it is; its class is exchanged for a subclass of the same name, because
`pipe(…)` looks for `__call__` there, and `save_pretrained` writes that name down. A pipeline that
`from_pipe` makes of it is another one, and has to be watched, too. What `callback_on_step_end` sees
of the unfinished picture is out before the outcome is on record.

    model.manifest       digest over the files, or weights, of each component
    prompt.rendered      all arguments; of each generator its seed and, because a generator that
                         was used has the same seed, the digest of its state before the call;
                         scheduler, adapters, versions of libraries
    replay.env_digest    digest of the same without what the person wrote
"""

import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from sealtrail.acting import acting
from sealtrail.calls import OUTPUTS_MAX, Call
from sealtrail.content import content_of, digest_text
from sealtrail.errors import NotRecordable
from sealtrail.fingerprints import (
    commit_of,
    component,
    libraries,
    loaded_from,
    npy_bytes,
    plain,
    plain_digest,
    tensor_bytes,
    tensors_digest,
    tensors_of,
)
from sealtrail.models import attempt_body
from sealtrail.providers.exchange import plain_code, plain_line, text_value
from sealtrail.verify import canonical

if TYPE_CHECKING:
    from sealtrail.trail import Trail

JSON = dict[str, Any]

_PROMPTS: Final = {"prompt": "prompt.user", "negative_prompt": "prompt.negative"}
_PARAMS: Final = {
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "width": "width",
    "height": "height",
    "strength": "strength",
}
#: The kind of call by what a pipeline is named, the first that fits.
_OPERATIONS: Final = (
    ("Inpaint", "inpaint"),
    ("Upscale", "upscale"),
    ("Img2Img", "edit"),
    ("Pix2Pix", "edit"),
    ("Image2Image", "edit"),
    ("Variation", "variation"),
)
_INPUTS_MAX: Final = 32

#: Outputs that are named each by itself: more, with their pixels, are too large for one entry.
NAMED_MAX: Final = 40


def watched_pipeline(trail: "Trail", pipe: Any) -> Any:
    """Return the same pipeline, whose calls are recorded from now on.

    Reads the model's files once, some seconds for some gigabytes. Raises OSError.
    """
    kind = getattr(type(pipe), "_sealtrail_unwatched", type(pipe))
    model, manifest = model_of(pipe, kind.__name__)
    signature = inspect.signature(kind.__call__)
    named = signature.parameters.values()
    rest = next((one.name for one in named if one.kind is one.VAR_KEYWORD), None)

    @functools.wraps(kind.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        said = dict(list(bound.arguments.items())[1:])
        if rest is not None:
            said |= said.pop(rest, {})
        asked = Asked(self, kind.__name__, said)
        with asked.call(trail, model, manifest) as recorded:
            made = kind.__call__(self, *args, **kwargs)
            asked.answered(recorded, made)
        return made

    members = {
        "__call__": call,
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "_sealtrail_unwatched": kind,
    }
    pipe.__class__ = type(kind.__name__, (kind,), members)
    return pipe


def model_of(pipe: Any, kind: str) -> tuple[JSON, JSON]:
    """Return the `model` of an attempt and the manifest behind its digest."""
    parts = {name: component(one) for name, one in pipe.components.items() if one is not None}
    manifest = {"class": kind, "components": parts}
    places = [path for one in pipe.components.values() if (path := loaded_from(one)) is not None]
    found = next((named for one in places if (named := commit_of(one)) is not None), None)
    told = getattr(pipe, "name_or_path", None) or pipe.config.get("_name_or_path")
    name = str(told).replace("\\", "/").rstrip("/").rpartition("/")[2] if told else kind
    digest = plain_digest(manifest)
    model = {"provider": "diffusers", "name": name, "version": digest[:19], "manifest": digest}
    if found is not None:
        model |= {"name": found[0], "version": found[1]}
    model["name"] = plain_line(model["name"]) or kind
    return model | {"type": plain_code(kind)}, manifest


class Asked:
    """What one call of a pipeline is given."""

    def __init__(self, pipe: Any, kind: str, said: JSON) -> None:
        self._kind, self._said = kind, said
        self._inputs: list[JSON] = []
        self._sealed: JSON = {}
        arguments = {name: self._named(one, name) for name, one in said.items()}
        scheduler = getattr(pipe, "scheduler", None)
        device = str(getattr(pipe, "_execution_device", getattr(pipe, "device", "cpu")))
        self._scheduler = None if scheduler is None else type(scheduler).__name__
        self._env: JSON = {
            "libraries": libraries(),
            "device": device,
            "dtype": str(getattr(pipe, "dtype", "unknown")),
            "random": _chances(said, device),
            "scheduler": None if scheduler is None else component(scheduler),
            "adapters": list(_adapters(pipe)),
            "switches": _switches(),
        }
        self._rendered = {"arguments": arguments, "environment": self._env}
        self.deterministic = device.startswith("cpu") or self._env["switches"]["deterministic"]

    def call(self, trail: "Trail", model: JSON, manifest: JSON) -> Call:
        """Return the call, not yet on record. Raises NotRecordable."""
        who = acting()
        sealed = dict(self._sealed)
        for name, member in _PROMPTS.items():
            if self._said.get(name) is not None:
                sealed[member] = text_value(plain(self._said[name]))
        sealed["prompt.rendered"] = _fitting(self._rendered, manifest)
        facts: JSON = {"inputs": self._inputs} if self._inputs else {}
        if self._inputs:
            both = "prompt.user" in sealed
            facts["input_type"] = "text+image" if both else "image"
        body, _ = attempt_body(
            model,
            operation=self._operation(),
            prompt=None,
            params=self._params(),
            inputs=(),
            consents=who.consents if who is not None else (),
            facts=facts,
        )
        return Call(trail, body, sealed)

    def answered(self, call: Call, made: Any) -> None:
        """Name what came out, and whether it should come out again."""
        outputs, flagged = _outputs(made)
        kept = outputs if len(outputs) <= NAMED_MAX else outputs[: NAMED_MAX - 1]
        for at, one in enumerate(kept):
            marked = at < len(flagged) and bool(flagged[at])
            _name(call, one, {"safety_labels": ["nsfw"]} if marked else {})
        if kept is not outputs:
            _name(call, outputs, {})
        call.usage(images=len(outputs))
        env_digest = plain_digest(self._env)
        call.fact(replay={"deterministic": self.deterministic, "env_digest": env_digest})

    def _operation(self) -> str:
        found = next((word for part, word in _OPERATIONS if part in self._kind), None)
        if found is not None:
            return found
        roles = {one.get("role") for one in self._inputs}
        return "inpaint" if "mask" in roles else "edit" if "source" in roles else "generate"

    def _params(self) -> JSON:
        said = self._said
        params = {
            ours: said[theirs]
            for theirs, ours in _PARAMS.items()
            if isinstance(said.get(theirs), (int, float)) and not isinstance(said[theirs], bool)
        }
        given = [one["seed"] for one in self._env["random"] if one["given"]]
        if len(given) == 1:
            params["seed"] = int(given[0])
        if self._scheduler is not None:
            params["scheduler"] = plain_code(self._scheduler)
        prompts = said.get("prompt")
        each = said.get("num_images_per_prompt") or 1
        number = each * (len(prompts) if isinstance(prompts, (list, tuple)) else 1)
        return params | ({"n": number} if 1 <= number <= OUTPUTS_MAX else {})

    def _named(self, value: Any, name: str, depth: int = 4) -> Any:
        """Return an argument as it is sealed: pictures, tensors and generators by digests."""
        if _is_picture(value):
            content = content_of(value)
            if len(self._inputs) >= _INPUTS_MAX:
                raise NotRecordable(f"A call is given at most {_INPUTS_MAX} pictures.")
            self._sealed[f"inputs[{len(self._inputs)}].sha256"] = content.sha256
            self._inputs.append({"type": "image", "role": _role(name)})
            return {"sha256": content.sha256, "pixel_sha256": content.pixel_sha256}
        if hasattr(value, "get_state") and hasattr(value, "initial_seed"):
            return chance(value)
        if hasattr(value, "dtype") and hasattr(value, "shape"):
            data = tensor_bytes(value) if hasattr(value, "detach") else value.tobytes()
            shape = [int(one) for one in value.shape]
            return {"dtype": str(value.dtype), "shape": shape, "sha256": digest_text(data)}
        if depth and isinstance(value, (list, tuple)):
            return [self._named(one, name, depth - 1) for one in value]
        if depth and isinstance(value, Mapping):
            return {str(key): self._named(one, str(key), depth - 1) for key, one in value.items()}
        return plain(value)


def chance(generator: Any) -> JSON:
    """Return what a generator will give next: seed, and digest of its state as it is now."""
    state = digest_text(tensor_bytes(generator.get_state()))
    return {"device": str(generator.device), "seed": str(generator.initial_seed()), "state": state}


def _chances(said: Mapping[str, Any], device: str) -> list[JSON]:
    """Return all generators of a call; without one, torch's own are used."""
    given = said.get("generator")
    listed = given if isinstance(given, (list, tuple)) else [] if given is None else [given]
    if listed:
        return [chance(one) | {"given": True} for one in listed]
    torch = sys.modules["torch"]
    found = [chance(torch.default_generator) | {"given": False}]
    if device.startswith("cuda"):
        number = torch.device(device).index or 0
        found.append(chance(torch.cuda.default_generators[number]) | {"given": False})
    return found


def _switches() -> JSON:
    """Return what torch was told about doing the same again."""
    torch = sys.modules["torch"]
    return {
        "deterministic": bool(torch.are_deterministic_algorithms_enabled()),
        "cudnn_deterministic": bool(torch.backends.cudnn.deterministic),
        "cudnn_benchmark": bool(torch.backends.cudnn.benchmark),
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32),
        "threads": int(torch.get_num_threads()),
    }


def _adapters(pipe: Any) -> Iterator[JSON]:
    """Yield the adapters (LoRA) that lie on each component, with weights and scale."""
    for name, one in pipe.components.items():
        listed = getattr(one, "peft_config", None)
        if not listed or not hasattr(one, "named_parameters"):
            continue
        told = getattr(one, "active_adapters", None)
        active = told() if callable(told) else told or []
        for adapter in sorted(listed):
            named = tensors_of(one, f".{adapter}.")
            yield {
                "component": name,
                "adapter": adapter,
                "active": adapter in active,
                "weights": tensors_digest(named),
                "scale": plain(_scale(one, adapter)),
            }
    fused = getattr(pipe, "num_fused_loras", 0)
    if fused:
        yield {"component": "all", "fused": int(fused)}


def _scale(part: Any, adapter: str) -> Any:
    for module in part.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, Mapping) and adapter in scaling:
            return scaling[adapter]
    return None


def _outputs(made: Any) -> tuple[list[Any], list[Any]]:
    """Return what came out one by one, and which of it the safety checker has marked."""
    values = list(made.values()) if isinstance(made, Mapping) else made
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    first = values[0] if values else []
    flagged = values[1] if len(values) > 1 and isinstance(values[1], list) else []
    if _is_picture(first) or isinstance(first, (str, bytes)):
        return [first], flagged
    return list(first), flagged


def _name(call: Call, thing: Any, facts: JSON) -> None:
    """Name one output: a picture, the frames of a film as one, or numbers."""
    if _is_picture(thing) or isinstance(thing, str):
        call.output(thing, **facts)
    elif isinstance(thing, list):
        digests = [digest_text(npy_bytes(one)) if not _is_picture(one) else None for one in thing]
        listed = [
            digest or {"sha256": (seen := content_of(one)).sha256, "pixels": seen.pixel_sha256}
            for one, digest in zip(thing, digests, strict=True)
        ]
        call.output(canonical.encode(listed), mime="application/json", **facts)
    else:
        call.output(npy_bytes(thing), mime="application/x-npy", **facts | _pixels(thing))


def _pixels(numbers: Any) -> JSON:
    """Return the digest of a picture in numbers from 0 to 1, as diffusers makes pixels of it."""
    if hasattr(numbers, "detach") or getattr(numbers, "ndim", 0) != 3 or numbers.shape[2] != 3:
        return {}  # A tensor may be latent: no picture yet.
    pixels = (numbers * 255).round().astype("uint8")
    height, width = (int(one) for one in numbers.shape[:2])
    return {"pixel_sha256": digest_text(pixels.tobytes()), "w": width, "h": height}


def _fitting(rendered: JSON, manifest: JSON) -> Any:
    """Return what the model was given; the manifest goes along if there is room for it."""
    both = text_value({**rendered, "manifest": manifest})
    return both if isinstance(both, str) else text_value(rendered)


def _role(name: str) -> str:
    for part, role in (("mask", "mask"), ("control", "control"), ("ip_adapter", "style")):
        if part in name:
            return role
    return "source" if name in {"image", "images", "init_image", "original_image"} else "reference"


def _is_picture(thing: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(thing, pillow.Image)
