# SPDX-License-Identifier: GPL-3.0-or-later
"""Any model in the program itself, by `Trail`."""

from closed_rows import PROMPT, Row

MODEL = "acme/painter@3.1"


class Block(Row):
    name = "`with trail.gen(…)`"

    def run(self, at):
        with at.trail.gen(model=MODEL, prompt=PROMPT) as call:
            made = at.model()
            call.output(made)
        at.release(made)


class AsyncBlock(Row):
    name = "`async with trail.gen(…)`"

    async def run(self, at):
        async with at.trail.gen(model=MODEL, prompt=PROMPT) as call:
            made = at.model()
            call.output(made)
        at.release(made)


class Decorated(Row):
    name = "`@trail.generates(…)`"

    def run(self, at):
        @at.trail.generates(model=MODEL)
        def paint(prompt):
            return at.model(prompt)

        at.release(paint(PROMPT))


class AsyncDecorated(Row):
    name = "`@trail.generates(…)` on `async def`"

    async def run(self, at):
        @at.trail.generates(model=MODEL)
        async def paint(prompt):
            return at.model(prompt)

        at.release(await paint(PROMPT))
