# SPDX-License-Identifier: GPL-3.0-or-later
"""LangChain: our handler, and why not any handler."""

from closed_rows import PROMPT, Row


def _model(at):
    """A chat model of LangChain's own making whose answers are counted."""
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel

    class Counting(GenericFakeChatModel):
        def _generate(self, *args, **kwargs):
            at.model()
            return super()._generate(*args, **kwargs)

    return Counting(messages=iter(["A lighthouse stands."] * 3))


class _Chain(Row):
    part = "Programs with hooks"
    tested_with = ("langchain-core",)
    needs = ("langchain_core",)

    def config(self, at):
        from sealtrail.langchain import Audit

        return {"callbacks": [Audit(at.trail)]}


class Invoke(_Chain):
    name = "LangChain `invoke` with `sealtrail.langchain.Audit`"

    def run(self, at):
        at.release(_model(at).invoke(PROMPT, config=self.config(at)))


class Ainvoke(_Chain):
    name = "LangChain `ainvoke` with `sealtrail.langchain.Audit`"

    async def run(self, at):
        at.release(await _model(at).ainvoke(PROMPT, config=self.config(at)))


class Stream(_Chain):
    name = "LangChain `stream` with `sealtrail.langchain.Audit`"
    stream = True

    def run(self, at):
        for one in _model(at).stream(PROMPT, config=self.config(at)):
            at.release(one)


class _Careless(_Chain):
    holds = False

    def config(self, at):
        """A handler that does what ours does, but in the place that LangChain gives by default."""
        from sealtrail.langchain import Audit

        class Plain(Audit):
            raise_error = False

        return {"callbacks": [Plain(at.trail)]}


class Default(_Careless):
    name = "LangChain handler without `raise_error`"
    reason = (
        "LangChain logs what a handler raises and goes on, unless the handler sets `raise_error`; "
        "`sealtrail.langchain.Audit` sets it."
    )

    def run(self, at):
        at.release(_model(at).invoke(PROMPT, config=self.config(at)))


class AsyncHandler(_Careless):
    name = "LangChain async handler in a sync call"
    reason = (
        "A sync call runs an async handler in an event loop of its own, and logs what it raises "
        "even with `raise_error`; ours is sync, which async calls wait for as well."
    )

    def config(self, at):
        from langchain_core.callbacks import AsyncCallbackHandler

        from sealtrail.langchain import Audit

        ours = Audit(at.trail)

        class Late(AsyncCallbackHandler):
            raise_error = True

            async def on_chat_model_start(self, *args, **kwargs):
                ours.on_chat_model_start(*args, **kwargs)

            async def on_llm_end(self, *args, **kwargs):
                ours.on_llm_end(*args, **kwargs)

        return {"callbacks": [Late()]}

    def run(self, at):
        at.release(_model(at).invoke(PROMPT, config=self.config(at)))
