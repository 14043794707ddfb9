# SPDX-License-Identifier: GPL-3.0-or-later
"""diffusers: a pipeline in this process, tiny and made of chance."""

import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from closed_rows import PROMPT, Row

_ADAPTERS = str(Path(__file__).resolve().parents[1] / "adapters")


@contextmanager
def _tiny():
    if _ADAPTERS not in sys.path:
        sys.path.append(_ADAPTERS)
    from tiny_pipeline import tiny_pipeline

    with TemporaryDirectory() as folder:
        yield tiny_pipeline(Path(folder))


class Pipeline(Row):
    name = "diffusers, `trail.watch(pipe)`"
    tested_with = ("diffusers", "torch", "transformers")
    needs = ("torch", "diffusers", "transformers")

    def run(self, at):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The libraries' own, of their own future.
            self.paint(at)

    def paint(self, at):
        pipe = at.once("tiny pipeline", _tiny)
        runs = type(pipe.unet).forward

        def forward(*args, **kwargs):
            at.model()
            return runs(pipe.unet, *args, **kwargs)

        pipe.unet.forward = forward
        watched = at.trail.watch(pipe)
        at.release(watched(PROMPT, num_inference_steps=1, height=16, width=16).images[0])
