# SPDX-License-Identifier: GPL-3.0-or-later
"""The example's model is a real one: data, words and seed each change what it draws.

Small synthetic pictures and few steps keep this quick; the last tests use the photographs.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from examples.pipeline import photographs, pictures  # noqa: E402 - needs NumPy and Pillow
from examples.pipeline.model import (  # noqa: E402
    CannotGenerate,
    Sampling,
    Training,
    generate,
    load,
    train,
    vary,
    words,
)

ROOT = Path(__file__).resolve().parents[2]
QUICK = Training(seed=5, steps=400, batch=48)


def disc(colour, ground, *, left):
    """A coloured disc on a ground, in the left or the right half."""
    y, x = np.mgrid[0:96, 0:128]
    inside = (x - (40 if left else 88)) ** 2 + (y - 48) ** 2 < 30**2
    raster = np.where(inside[..., None], np.array(colour), np.array(ground)).astype(np.uint8)
    return Image.fromarray(raster)


WARM = [
    (disc((220, 40, 30), (20, 20, 60), left=True), "red sun evening"),
    (disc((240, 230, 90), (120, 60, 20), left=False), "yellow lemon wood"),
]
COLD = [
    (disc((30, 60, 220), (230, 230, 240), left=True), "blue ice snow"),
    (disc((40, 160, 90), (10, 30, 20), left=False), "green apple leaf"),
]


@pytest.fixture(scope="module")
def warm():
    return train(WARM, QUICK)


@pytest.fixture(scope="module")
def cold():
    return train(COLD, QUICK)


def raster(picture):
    return np.asarray(picture, dtype=np.float64)


def distance(one, other):
    return float(np.abs(raster(one) - raster(other)).mean())


def test_the_model_learns(warm):
    """The error of the last tenth of the run is below that of the first."""
    assert Decimal(warm.losses[-1]) < Decimal(warm.losses[0])


def test_two_training_sets_give_two_pictures_for_one_prompt_and_seed(warm, cold):
    """What was ingested shows in what is generated."""
    choices = Sampling(seed=11)

    one, other = generate(warm, "sun", choices), generate(cold, "sun", choices)

    assert pictures.png(one) != pictures.png(other)
    assert distance(one, other) > 10


def test_the_prompt_conditions_the_picture(warm):
    """Asked for the red one it draws the red one, asked for the yellow one the yellow one."""
    red, yellow = disc_of(warm, "red sun"), disc_of(warm, "yellow lemon")

    assert (
        np.abs(red - raster(WARM[0][0]).mean((0, 1))).sum()
        < np.abs(red - raster(WARM[1][0]).mean((0, 1))).sum()
    )
    assert (
        np.abs(yellow - raster(WARM[1][0]).mean((0, 1))).sum()
        < np.abs(yellow - raster(WARM[0][0]).mean((0, 1))).sum()
    )


def disc_of(model, prompt):
    """The mean colour over a few seeds."""
    seeds = (1, 2, 3, 4)
    return np.mean(
        [raster(generate(model, prompt, Sampling(seed=s))).mean((0, 1)) for s in seeds], 0
    )


def test_the_seed_changes_the_picture(warm):
    """Two seeds are two pictures of one prompt."""
    one, other = (generate(warm, "red sun", Sampling(seed=seed)) for seed in (1, 2**64 - 1))

    assert pictures.png(one) != pictures.png(other)


def test_the_same_seed_gives_the_same_bytes(warm):
    """The whole PNG file, not only something like it."""
    choices = Sampling(seed=2**63 + 1)

    one, other = (pictures.png(generate(warm, "red sun", choices)) for _ in range(2))

    assert one == other


def test_weights_read_from_disk_draw_the_same_picture(warm, tmp_path):
    """The file is the model; NumPy opens it too."""
    path = tmp_path / "weights.npz"
    path.write_bytes(warm.weights())

    again = load(path.read_bytes())

    assert again.weights() == warm.weights()
    assert np.array_equal(np.load(path)["w1"], warm.arrays["w1"])
    assert pictures.png(generate(again, "lemon", Sampling(seed=3))) == pictures.png(
        generate(warm, "lemon", Sampling(seed=3))
    )


def test_two_processes_train_the_same_weights():
    """The digest in TRAIN can be recomputed: nothing in it depends on time or process.

    Two fresh ones, because this one may have imported NumPy before the package could say that
    it wants one thread.
    """
    program = (
        "import sys; sys.path[:0] = ['.', 'tests/examples']\n"
        "import examples.pipeline, hashlib, test_pipeline_model as t\n"
        "print(hashlib.sha256(t.train(t.WARM, t.QUICK).weights()).hexdigest())"
    )

    first, second = (
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    )

    assert len(first.strip()) == 64
    assert first == second


def test_another_seed_trains_other_weights(warm):
    """The seed of the training is one of the facts that fix the weights."""
    other = train(WARM, Training(seed=6, steps=40, batch=48))
    shorter = train(WARM, Training(seed=5, steps=40, batch=48))

    assert len({other.weights(), shorter.weights(), warm.weights()}) == 3


def test_a_variation_keeps_more_of_its_source_the_weaker_it_is(warm):
    """strength says how far the source is dissolved before it is drawn again."""
    source = generate(warm, "red sun", Sampling(seed=1))

    weak, strong = (
        vary(warm, source, "yellow lemon", Sampling(seed=2, strength=Decimal(strength)))
        for strength in ("0.1", "1")
    )

    assert distance(source, weak) < distance(source, strong)


@pytest.mark.parametrize(
    ("choices", "code"),
    [
        (Sampling(seed=1, width=4096, height=4096), "unsupported-size"),
        (Sampling(seed=1, steps=0), "unsupported-steps"),
        (Sampling(seed=1, strength=Decimal(0)), "unsupported-strength"),
    ],
)
def test_what_the_model_cannot_do_it_refuses(warm, choices, code):
    """With a short stable name, which is what GEN_ERROR records."""
    with pytest.raises(CannotGenerate) as refused:
        generate(warm, "sun", choices)

    assert refused.value.code == code


def test_words_are_what_is_left_of_a_prompt():
    """Lower case, each once, without the words that every caption could hold."""
    assert words("A Photograph of the cat, THE Cat on a chair!") == ["cat", "chair"]


def test_every_photograph_has_a_ground_for_its_use():
    """Licence, basis, author, source and digest are on file, and no two are one."""
    assert len({photo.sha256 for photo in photographs.PHOTOGRAPHS}) == 8
    for photo in photographs.PHOTOGRAPHS:
        assert photo.rights_basis in {"PUBLIC_DOMAIN", "LICENSED"}
        assert photo.licence
        assert photo.author
        assert photo.source_url.startswith("http")


def test_the_table_of_photographs_is_the_table_of_the_program():
    """PHOTOGRAPHS.md is read by people; it must not drift."""
    page = (ROOT / "examples/pipeline/PHOTOGRAPHS.md").read_text()

    for photo in photographs.PHOTOGRAPHS:
        row = next(line for line in page.splitlines() if line.startswith(f"| {photo.name} "))
        for fact in (photo.member, photo.licence, photo.author, photo.source_url, photo.sha256):
            assert fact in row


def test_the_photographs_are_the_pinned_ones_and_open(cache):
    """Eight files whose bytes are those on file, in three colours."""
    for photo in photographs.PHOTOGRAPHS:
        path = cache / photo.filename
        assert hashlib.sha256(path.read_bytes()).hexdigest() == photo.sha256
        with Image.open(path) as picture:
            assert picture.convert("RGB").size >= (300, 300)


def test_a_whole_cache_needs_no_index_and_a_changed_photograph_is_not_used(
    cache, tmp_path, monkeypatch
):
    """A cache is believed by its bytes: what was changed is fetched again, or the run stops."""
    copy = tmp_path / "copy"
    shutil.copytree(cache, copy)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    paths = photographs.obtain(copy)
    paths["coffee"].write_bytes(b"tea")

    with pytest.raises(photographs.PhotographsUnavailable, match="could not be downloaded"):
        photographs.obtain(copy)
