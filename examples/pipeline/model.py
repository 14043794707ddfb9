# SPDX-License-Identifier: Apache-2.0
"""A small generative model that learns pictures from captioned photographs and a prompt.

It is a latent diffusion model, real in every part and tiny in every part:

    photograph ──► crops 64 x 64 ──► principal components (the latent, LATENT numbers)
    caption    ──► words, each hashed into one of BUCKETS ──► a learned vector (TEXT numbers)
    denoiser   =   two hidden layers: (noisy latent, text, noise level) ──► the clean latent
    generate   =   seeded noise ──► guided steps, a little less noise each ──► latent ──► pixels

What it is not: it was trained for seconds on a handful of photographs, so it remembers and mixes
them softly and cannot draw what it has not seen. A word that is in no caption lands in a bucket
nobody trained and changes the picture only a little. That is honest for its purpose: a prompt, a
seed and a training set that each change the output, and digests that anybody can recompute.

Same photographs, same seed, same NumPy, same machine: the same bytes. Another processor may round
a sum differently; the run therefore records NumPy's version and the machine beside the digests.

Sources: Ho, Jain, Abbeel 2020 (diffusion); Song, Meng, Ermon 2020 (fewer steps, eq. 12 with
their sigma of a DDPM); Ho, Salimans 2022 (classifier-free guidance).
"""

import hashlib
import io
import itertools
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]

#: Edge of the picture the model thinks in, and of the picture it delivers, in pixels.
EDGE: Final = 64
OUTPUT_EDGE: Final = 256

LATENT: Final = 64
BUCKETS: Final = 512
TEXT: Final = 32
HIDDEN: Final = 256
LEVELS: Final = 200
TIME: Final = 16
CROPS: Final = 48

#: Words that every caption could hold say nothing about a picture.
_EMPTY_WORDS: Final = frozenset({"a", "an", "and", "at", "in", "of", "on", "photograph", "the"})


class CannotGenerate(Exception):  # noqa: N818 - an answer, not an accident
    """The model can not do what was asked; `code` is a stable short name for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The choices a training run is made with; with the photographs they fix the weights."""

    seed: int
    steps: int = 2_400
    batch: int = 64
    learning_rate: Decimal = Decimal("0.003")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The choices one picture is made with. seed is any 64-bit number."""

    seed: int
    steps: int = 40
    cfg_scale: Decimal = Decimal("1.6")
    width: int = OUTPUT_EDGE
    height: int = OUTPUT_EDGE
    strength: Decimal = Decimal("0.6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Trained weights: named arrays of float32, and what training said about itself.

    losses: mean squared error of the denoiser, one per tenth of the run, as decimal strings.
    """

    arrays: Mapping[str, Array]
    losses: tuple[str, ...] = ()

    def weights(self) -> bytes:
        """The weights as an .npz file that `numpy.load` opens; equal weights, equal bytes.

        NumPy's own `savez` writes the time of day into the zip; here names are sorted, the date
        is the earliest a zip can hold and nothing is compressed.
        """
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(self.arrays):
                member = io.BytesIO()
                np.lib.format.write_array(member, self.arrays[name], allow_pickle=False)
                info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                info.create_system = 3
                info.external_attr = 0o644 << 16
                archive.writestr(info, member.getvalue())
        return out.getvalue()


def load(weights: bytes) -> Model:
    """The model whose `weights()` these bytes are. Nothing in them is executed."""
    with np.load(io.BytesIO(weights), allow_pickle=False) as archive:
        return Model(arrays={name: archive[name] for name in archive.files})


def words(text: str) -> list[str]:
    """The words of a caption or prompt that the model looks at, in lower case, each once."""
    found = dict.fromkeys(re.findall(r"[a-z0-9]+", text.lower()))
    return [word for word in found if word not in _EMPTY_WORDS]


def train(pictures: Sequence[tuple[Image.Image, str]], choices: Training) -> Model:
    """A model of `pictures` (RGB picture, caption). About ten seconds on one slow core."""
    if not pictures:
        raise ValueError("a model needs at least one picture")
    chance = np.random.default_rng(choices.seed)
    crops = np.concatenate([_crops(picture, chance) for picture, _ in pictures])
    captions = [words(caption) for _, caption in pictures]
    arrays = _principal_components(crops)
    latents = _encode(arrays, crops)
    arrays |= _first_weights(chance)
    losses = _learn(arrays, latents, captions, choices, chance)
    return Model(arrays=arrays, losses=losses)


def generate(model: Model, prompt: str, choices: Sampling) -> Image.Image:
    """A picture of `prompt`. The same model, prompt and choices give the same pixels."""
    _check(choices)
    chance = np.random.default_rng(choices.seed)
    noise = chance.standard_normal((1, LATENT), dtype=np.float32)
    return _picture(model, _denoise(model, noise, LEVELS, prompt, choices=choices, chance=chance))


def vary(model: Model, source: Image.Image, prompt: str, choices: Sampling) -> Image.Image:
    """`source` pulled towards `prompt`: noised as far as `strength` says, then denoised again."""
    _check(choices)
    chance = np.random.default_rng(choices.seed)
    small = source.convert("RGB").resize((EDGE, EDGE), Image.Resampling.LANCZOS)
    latent = _encode(model.arrays, _vectors([small]))
    level = max(1, round(LEVELS * float(choices.strength)))
    kept = _KEPT[level - 1]
    noise = chance.standard_normal((1, LATENT), dtype=np.float32)
    noisy = np.sqrt(kept) * latent + np.sqrt(1 - kept) * noise
    return _picture(
        model,
        _denoise(model, noisy.astype(np.float32), level, prompt, choices=choices, chance=chance),
    )


# The noise schedule: _KEPT[t] is the share of the picture's variance that is left at level t.


def _cosine_schedule() -> Array:
    at = (np.arange(1, LEVELS + 1) / LEVELS + 0.008) / 1.008
    kept = np.cos(at * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    schedule: Array = np.clip(kept, 1e-4, 0.9999).astype(np.float32)
    return schedule


_KEPT: Final = _cosine_schedule()


def _check(choices: Sampling) -> None:
    if (choices.width, choices.height) != (OUTPUT_EDGE, OUTPUT_EDGE):
        raise CannotGenerate(
            "unsupported-size",
            f"this model makes pictures of {OUTPUT_EDGE} x {OUTPUT_EDGE} pixels only",
        )
    if not 1 <= choices.steps <= LEVELS:
        raise CannotGenerate("unsupported-steps", f"steps must be between 1 and {LEVELS}")
    if not 0 < choices.strength <= 1:
        raise CannotGenerate("unsupported-strength", "strength must be above 0 and at most 1")


# Pictures to latents and back.


def _crops(picture: Image.Image, chance: np.random.Generator) -> Array:
    """CROPS square cuts of one picture, shape (CROPS, EDGE * EDGE * 3), values -1 to 1."""
    picture = picture.convert("RGB")
    shorter = min(picture.size)
    cuts = []
    for _ in range(CROPS):
        edge = int(shorter * chance.uniform(0.85, 1.0))
        left = int(chance.integers(0, picture.width - edge + 1))
        top = int(chance.integers(0, picture.height - edge + 1))
        box = (left, top, left + edge, top + edge)
        cut = picture.resize((EDGE, EDGE), Image.Resampling.BOX, box=box)
        if chance.random() < 0.5:
            cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        cuts.append(cut)
    return _vectors(cuts)


def _vectors(pictures: Sequence[Image.Image]) -> Array:
    raster: Array = np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])
    vectors: Array = (raster.reshape(len(pictures), -1) / 127.5 - 1).astype(np.float32)
    return vectors


def _principal_components(crops: Array) -> dict[str, Array]:
    """Mean, LATENT directions (rows) and their spread; from the small Gram matrix."""
    mean = crops.mean(axis=0)
    centred = (crops - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    order = np.argsort(values)[::-1][:LATENT]
    kept = np.maximum(values[order], 1e-6)
    directions = (vectors[:, order] / np.sqrt(kept)).T @ centred
    # An eigenvector's sign is a matter of taste; fixed here so that a rerun agrees.
    peak = np.abs(directions).argmax(axis=1)
    directions *= np.sign(directions[np.arange(len(directions)), peak])[:, None]
    spread = np.sqrt(kept / len(crops))
    if len(directions) < LATENT:  # fewer crops than numbers: the rest stays silent
        lacking = LATENT - len(directions)
        directions = np.pad(directions, ((0, lacking), (0, 0)))
        spread = np.pad(spread, (0, lacking), constant_values=1e-3)
    return {
        "pca.mean": mean.astype(np.float32),
        "pca.directions": directions.astype(np.float32),
        "pca.spread": np.maximum(spread, 1e-3).astype(np.float32),
    }


def _encode(arrays: Mapping[str, Array], vectors: Array) -> Array:
    latent = (vectors - arrays["pca.mean"]) @ arrays["pca.directions"].T / arrays["pca.spread"]
    return latent.astype(np.float32)


def _picture(model: Model, latent: Array) -> Image.Image:
    arrays = model.arrays
    vector = (latent * arrays["pca.spread"]) @ arrays["pca.directions"] + arrays["pca.mean"]
    raster = np.clip(np.rint((vector + 1) * 127.5), 0, 255).astype(np.uint8)
    small = Image.fromarray(raster.reshape(EDGE, EDGE, 3))
    return small.resize((OUTPUT_EDGE, OUTPUT_EDGE), Image.Resampling.BICUBIC)


# Words to numbers.


def _bucket(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % BUCKETS


def _bag(chosen: Sequence[str]) -> Array:
    """Which buckets the words fall into, each with an equal share; all zero for no words."""
    bag = np.zeros(BUCKETS, dtype=np.float32)
    for word in chosen:
        bag[_bucket(word)] += 1
    length = np.sqrt((bag * bag).sum())
    return (bag / length if length else bag).astype(np.float32)


# The denoiser: two hidden layers, weights by Adam, gradients by hand.


def _first_weights(chance: np.random.Generator) -> dict[str, Array]:
    def matrix(rows: int, columns: int, scale: float) -> Array:
        return (chance.standard_normal((rows, columns), dtype=np.float32) * scale).astype("f4")

    entrance = LATENT + TEXT + TIME
    return {
        "text": matrix(BUCKETS, TEXT, 1.0),
        "w1": matrix(entrance, HIDDEN, (2 / entrance) ** 0.5),
        "b1": np.zeros(HIDDEN, dtype=np.float32),
        "w2": matrix(HIDDEN, HIDDEN, (2 / HIDDEN) ** 0.5),
        "b2": np.zeros(HIDDEN, dtype=np.float32),
        "w3": matrix(HIDDEN, LATENT, 0.01),
        "b3": np.zeros(LATENT, dtype=np.float32),
    }


def _time_features(levels: NDArray[np.int64]) -> Array:
    speed = np.exp(np.linspace(0, np.log(50), TIME // 2))
    angle = (levels[:, None] / LEVELS) * speed[None, :] * np.pi
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def _forward(
    arrays: Mapping[str, Array], noisy: Array, bags: Array, levels: NDArray[np.int64]
) -> tuple[Array, tuple[Array, Array, Array]]:
    """The latent the denoiser sees behind the noise, and the layers' inputs, to learn from."""
    x0 = np.concatenate([noisy, bags @ arrays["text"], _time_features(levels)], axis=1)
    x1 = np.maximum(x0 @ arrays["w1"] + arrays["b1"], 0)
    x2 = np.maximum(x1 @ arrays["w2"] + arrays["b2"], 0) + x1
    return x2 @ arrays["w3"] + arrays["b3"], (x0, x1, x2)


def _backward(
    arrays: Mapping[str, Array], bags: Array, layers: tuple[Array, Array, Array], error: Array
) -> dict[str, Array]:
    """The gradient of half the squared error with respect to every learned array."""
    x0, x1, x2 = layers
    at_x2 = error @ arrays["w3"].T
    at_hidden2 = at_x2 * (x2 > x1)
    at_x1 = at_hidden2 @ arrays["w2"].T + at_x2
    at_hidden1 = at_x1 * (x1 > 0)
    at_text = (at_hidden1 @ arrays["w1"].T)[:, LATENT : LATENT + TEXT]
    return {
        "w3": x2.T @ error,
        "b3": error.sum(axis=0),
        "w2": x1.T @ at_hidden2,
        "b2": at_hidden2.sum(axis=0),
        "w1": x0.T @ at_hidden1,
        "b1": at_hidden1.sum(axis=0),
        "text": bags.T @ at_text,
    }


def _learn(
    arrays: dict[str, Array],
    latents: Array,
    captions: Sequence[Sequence[str]],
    choices: Training,
    chance: np.random.Generator,
) -> tuple[str, ...]:
    """Improve `arrays` in place for choices.steps steps; the losses on the way."""
    tables = [_bag(caption) for caption in captions]
    learned = [name for name in arrays if not name.startswith("pca.")]
    first = {name: np.zeros_like(arrays[name]) for name in learned}
    second = {name: np.zeros_like(arrays[name]) for name in learned}
    losses: list[float] = []
    for step in range(1, choices.steps + 1):
        chosen = chance.integers(0, len(latents), choices.batch)
        bags = np.stack([_some_words(captions, tables, int(i) // CROPS, chance) for i in chosen])
        levels = chance.integers(1, LEVELS + 1, choices.batch)
        noise = chance.standard_normal((choices.batch, LATENT), dtype=np.float32)
        kept = _KEPT[levels - 1][:, None]
        noisy = (np.sqrt(kept) * latents[chosen] + np.sqrt(1 - kept) * noise).astype(np.float32)
        guess, layers = _forward(arrays, noisy, bags, levels)
        error = guess - latents[chosen]
        losses.append(float((error**2).mean()))
        slopes = _backward(arrays, bags, layers, error / np.float32(choices.batch))
        pace = float(choices.learning_rate) * (1 - 0.95 * step / choices.steps)
        for name in learned:
            first[name] += np.float32(0.1) * (slopes[name] - first[name])
            second[name] += np.float32(0.01) * (slopes[name] ** 2 - second[name])
            size = np.sqrt(second[name] / np.float32(1 - 0.99**step)) + np.float32(1e-8)
            arrays[name] -= np.float32(pace / (1 - 0.9**step)) * first[name] / size
    tenths = np.array_split(np.array(losses), min(10, len(losses)))
    return tuple(f"{tenth.mean():.4f}" for tenth in tenths)


def _some_words(
    captions: Sequence[Sequence[str]],
    tables: Sequence[Array],
    which: int,
    chance: np.random.Generator,
) -> Array:
    """A caption, part of it, or nothing: so that one word alone says something later."""
    lot = chance.random()
    if lot < 0.1:
        return np.zeros(BUCKETS, dtype=np.float32)
    if lot < 0.4 or not captions[which]:
        return tables[which]
    count = int(chance.integers(1, len(captions[which]) + 1))
    return _bag([str(word) for word in chance.choice(captions[which], count, replace=False)])


def _denoise(
    model: Model,
    noisy: Array,
    level: int,
    prompt: str,
    *,
    choices: Sampling,
    chance: np.random.Generator,
) -> Array:
    """From `level` down to 0 in at most choices.steps steps, with seeded noise at each but one."""
    bags = np.stack([_bag(words(prompt)), np.zeros(BUCKETS, dtype=np.float32)])
    guidance = float(choices.cfg_scale)
    stops = np.unique(np.rint(np.linspace(0, level, choices.steps + 1)).astype(np.int64))[::-1]
    latent = noisy
    for here, there in itertools.pairwise(stops):
        both = np.repeat(latent, 2, axis=0)
        guess, _ = _forward(model.arrays, both, bags, np.array([here, here]))
        clean = np.clip(guess[1:] + guidance * (guess[:1] - guess[1:]), -4, 4)
        kept = float(_KEPT[here - 1])
        later = float(_KEPT[there - 1]) if there else 1.0
        noise = (latent - kept**0.5 * clean) / (1 - kept) ** 0.5
        fresh = ((1 - later) / (1 - kept) * (1 - kept / later)) ** 0.5
        latent = later**0.5 * clean + max(1 - later - fresh**2, 0.0) ** 0.5 * noise
        latent = latent + fresh * chance.standard_normal((1, LATENT), dtype=np.float32)
        latent = latent.astype(np.float32)
    return latent
