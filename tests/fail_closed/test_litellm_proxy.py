# SPDX-License-Identifier: GPL-3.0-or-later
"""LiteLLM's real proxy with `callbacks: sealtrail.litellm.audit`: what is recorded and refused."""

import json

import pytest
from closed_rows import MESSAGES, PROMPT
from closed_world import TOKEN, world

litellm = pytest.importorskip("litellm", reason="litellm is not installed")
import openai  # noqa: E402
from litellm.proxy.types_utils.utils import get_instance_fn  # noqa: E402
from provider_server import SPOKEN  # noqa: E402
from rows_litellm import MASTER, proxying  # noqa: E402

import sealtrail.litellm  # noqa: E402
from sealtrail.content import digest_text  # noqa: E402

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore"),  # LiteLLM warns of much; it is not what is asked here.
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A world whose ledger the proxy knows from its environment, as its config names the hook."""
    with world() as made, pytest.MonkeyPatch.context() as patch:
        trust = tmp_path_factory.mktemp("litellm") / "trust.json"
        trust.write_bytes(made.ledger.trust.print())
        patch.setenv("SEALTRAIL_URL", made.ledger_url)
        patch.setenv("SEALTRAIL_TOKEN", TOKEN)
        patch.setenv("SEALTRAIL_TRUST", str(trust))
        patch.setenv("HOME", str(trust.parent))
        vars(sealtrail.litellm).pop("audit", None)
        with proxying(made.address, "sealtrail.litellm.audit") as url:
            yield made, url
        vars(sealtrail.litellm).pop("audit").__dict__["_trail"].close()


@pytest.fixture
def ledger(running):
    return running[0].at("well").ledger


@pytest.fixture
def provider(running, ledger):
    del ledger  # Empties the books.
    return running[0].provider


@pytest.fixture
def client(running, provider):
    del provider
    with openai.OpenAI(api_key=MASTER, base_url=f"{running[1]}/v1", max_retries=0) as made:
        yield made


def sent(ledger):
    return [json.loads(one) for one in ledger.requests]


def test_a_chat_is_recorded_with_its_person_and_its_texts_sealed(client, ledger):
    """The user of the request, not the master key; the answer by its digest."""
    client.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "system", "content": "Be kind."}, *MESSAGES],
        temperature=0.5,
        user="emp-7",
    )
    attempt, outcome = sent(ledger)
    assert attempt["on_behalf_of"] == outcome["on_behalf_of"] == "emp-7"
    assert attempt["sealed"]["prompt.user"] == PROMPT
    assert attempt["sealed"]["prompt.system"] == "Be kind."
    assert attempt["body"]["params"] == {"temperature": "0.5"}
    assert attempt["body"]["model"] == {
        "provider": "litellm", "name": "gpt-4o", "version": "hosted",
    }  # fmt: skip
    assert outcome["body"]["outputs"][0]["sha256"] == digest_text(SPOKEN.encode())
    assert outcome["body"]["usage"]["input_tokens"] == 7
    assert outcome["links"][0]["id"] == attempt["event_id"]


def test_a_stream_is_recorded_by_what_it_said(client, ledger):
    """All chunks reach the client, and their text's digest is what is on record."""
    stream = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, user="emp-7"
    )
    words = "".join(one.choices[0].delta.content or "" for one in stream if one.choices)
    assert words.strip() == SPOKEN
    outcome = sent(ledger)[1]
    assert outcome["body"]["result"] == "success"
    assert outcome["body"]["outputs"][0]["sha256"] == digest_text(words.encode())


def test_what_a_provider_refuses_or_fails_at_is_on_record(client, provider, ledger):
    """A moderated picture is a denial; a 500, however often LiteLLM tries it, is one error."""
    provider.moods = ["refuse", *["500"] * 5]
    for _ in range(2):
        with pytest.raises(openai.APIStatusError):
            client.images.generate(model="gpt-image-1", prompt=PROMPT, user="emp-7")
    assert [one["type"] for one in sent(ledger)] == [
        "GEN_ATTEMPT", "GEN_DENY", "GEN_ATTEMPT", "GEN_ERROR",
    ]  # fmt: skip


def test_a_shared_key_that_names_nobody_is_refused(client, provider, ledger):
    """403, and no provider hears of it."""
    with pytest.raises(openai.PermissionDeniedError, match="natural person"):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert (provider.calls, ledger.requests) == ([], [])


def test_a_kind_of_call_that_is_not_read_is_refused_unless_it_is_allowed(client, provider):
    """Embeddings: 403; once named, they go through without a record."""
    with pytest.raises(openai.PermissionDeniedError, match="cannot put"):
        client.embeddings.create(model="text-embedding-3-small", input="x", user="emp-7")
    assert provider.calls == []
    allowed = sealtrail.litellm.Audit(litellm.callbacks[0]._trail, allow=frozenset({"aembedding"}))
    kinds = [one for one in litellm.callbacks if isinstance(one, sealtrail.litellm.Audit)]
    assert len(kinds) == 1
    litellm.callbacks[litellm.callbacks.index(kinds[0])] = allowed
    try:
        with pytest.raises(ValueError, match="No embedding"):  # Here are no such models.
            client.embeddings.create(model="text-embedding-3-small", input="x", user="emp-7")
        assert [call["path"] for call in provider.calls] == ["/v1/embeddings"]
    finally:
        litellm.callbacks[litellm.callbacks.index(allowed)] = kinds[0]


def test_a_proxy_without_its_settings_does_not_start(monkeypatch):
    """The config's name is looked up at start: what is missing is said then."""
    monkeypatch.delenv("SEALTRAIL_TRUST")
    kept = vars(sealtrail.litellm).pop("audit")
    try:
        with pytest.raises(ValueError, match="SEALTRAIL_TRUST"):
            get_instance_fn("sealtrail.litellm.audit")
    finally:
        vars(sealtrail.litellm)["audit"] = kept
