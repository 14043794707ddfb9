# SPDX-License-Identifier: GPL-3.0-or-later
"""LangChain's own callback machinery around a fake model: what it lets through and stops."""

import asyncio

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from sealtrail import AuditUnavailable
from sealtrail.content import digest_text
from sealtrail.langchain import Audit

pytestmark = pytest.mark.once

QUESTION = "what stands in the fog?"
ANSWER = "A lighthouse."


class Counting(GenericFakeChatModel):
    """A model that says how often it was asked."""

    asked: int = 0

    def _generate(self, *args, **kwargs):
        self.asked += 1
        return super()._generate(*args, **kwargs)


@pytest.fixture
def model():
    message = AIMessage(
        ANSWER,
        usage_metadata={"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
        response_metadata={"model_name": "fake-2026"},
    )
    return Counting(messages=iter([message] * 5))


def test_a_call_is_recorded_around_the_model(model, trail, recorded):
    """The question sealed, the answer by its digest, tokens and model as the message says."""
    with trail.acting_for("emp-7"):
        answer = model.invoke(
            [("system", "Be kind."), ("human", QUESTION)], config={"callbacks": [Audit(trail)]}
        )
    assert answer.content == ANSWER
    attempt, outcome = recorded.entries
    values = recorded.values(attempt)
    assert (values["prompt.user"], values["prompt.system"]) == (QUESTION, "Be kind.")
    assert outcome["body"]["outputs"][0]["sha256"] == digest_text(ANSWER.encode())
    assert outcome["body"]["usage"]["input_tokens"] == 5
    assert outcome["body"]["provider"]["model_returned"] == "fake-2026"


def test_async_calls_wait_for_the_record_as_well(model, trail, recorded):
    """`ainvoke` runs the same handler before the model, with the person of its own task."""

    async def work():
        async with trail.acting_for("emp-8"):
            return await model.ainvoke(QUESTION, config={"callbacks": [Audit(trail)]})

    assert asyncio.run(work()).content == ANSWER
    assert recorded.types == ["GEN_ATTEMPT", "GEN"]
    assert recorded.values(recorded.entries[0])["actor.subject_id"] == "emp-8"


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
def test_without_a_ledger_the_model_is_not_asked(model, nobody, how):
    """AuditUnavailable comes out of the chain itself."""
    config = {"callbacks": [Audit(nobody)]}
    calls = {
        "invoke": lambda: model.invoke(QUESTION, config=config),
        "ainvoke": lambda: asyncio.run(model.ainvoke(QUESTION, config=config)),
        "stream": lambda: list(model.stream(QUESTION, config=config)),
    }
    with nobody.acting_for("emp-7"), pytest.raises(AuditUnavailable):
        calls[how]()
    assert model.asked == 0


def test_an_answer_without_a_record_is_withheld(model, trail, monkeypatch):
    """The ledger goes away while the model works: the chain raises instead of returning."""
    record = trail.recorder.post

    def away(type_, **members):
        if type_ != "GEN_ATTEMPT":
            raise AuditUnavailable("away", attempts=1)
        return record(type_, **members)

    monkeypatch.setattr(trail.recorder, "post", away)
    with trail.acting_for("emp-7"), pytest.raises(AuditUnavailable):
        model.invoke(QUESTION, config={"callbacks": [Audit(trail)]})
    assert model.asked == 1


def test_a_model_that_fails_is_an_error_on_record(trail, recorded):
    """GEN_ERROR with the exception's class, and the exception goes on."""

    class Broken(Counting):
        def _generate(self, *_args, **_kwargs):
            raise RuntimeError("out of memory")

    with trail.acting_for("emp-7"), pytest.raises(RuntimeError, match="memory"):
        Broken(messages=iter([])).invoke(QUESTION, config={"callbacks": [Audit(trail)]})
    assert recorded.types == ["GEN_ATTEMPT", "GEN_ERROR"]
