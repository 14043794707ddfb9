# SPDX-License-Identifier: GPL-3.0-or-later
"""LiteLLM: its real proxy in this process, its SDK, and hooks of it that let calls through."""

import asyncio
import contextlib
import json
import os
import tempfile

from closed_rows import MESSAGES, PROMPT, Row
from closed_world import answering

MASTER = "sk-of-the-proxy"

#: Without this it asks the network for prices when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@contextlib.contextmanager
def proxying(address, callbacks=None):
    """The address of LiteLLM's proxy, with its routes to the provider of the tests.

    callbacks: as a config.yaml names them.
    """
    from litellm.proxy import proxy_server

    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": f"{address}/v1",
                "api_key": "k",
                "max_retries": 0,
            },
        }
        for name in ("gpt-4o", "gpt-image-1", "text-embedding-3-small")
    ]
    told = {
        "model_list": models,
        "general_settings": {"master_key": MASTER},
        "litellm_settings": {"callbacks": callbacks} if callbacks else {},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(told, file)  # JSON is YAML.
        file.flush()
        os.environ["CONFIG_FILE_PATH"] = file.name
        try:
            with answering(proxy_server.app) as url:
                yield url
        finally:
            del os.environ["CONFIG_FILE_PATH"]


class _Proxied(Row):
    part = "Programs with hooks"
    tested_with = ("litellm",)
    needs = ("litellm", "openai", "fastapi", "orjson")
    person = None  # The request names its user.

    def client(self, at):
        import litellm
        import openai

        url = at.once("litellm-proxy", lambda: proxying(at.provider))
        litellm.callbacks = self.callbacks(at)
        return openai.OpenAI(api_key=MASTER, base_url=f"{url}/v1")

    def callbacks(self, at):
        from sealtrail.litellm import Audit

        return [Audit(at.trail)]


class Images(_Proxied):
    name = "LiteLLM proxy with `sealtrail.litellm.audit`, pictures"

    def run(self, at):
        with self.client(at) as client:
            asked = {"model": "gpt-image-1", "prompt": PROMPT, "user": "emp-7"}
            at.release(client.images.generate(**asked))


class Chat(_Proxied):
    name = "LiteLLM proxy with `sealtrail.litellm.audit`, chat"

    def run(self, at):
        with self.client(at) as client:
            asked = {"model": "gpt-4o", "messages": MESSAGES, "user": "emp-7"}
            at.release(client.chat.completions.create(**asked))


class Stream(_Proxied):
    name = "LiteLLM proxy with `sealtrail.litellm.audit`, chat as a stream"
    stream = True

    def run(self, at):
        with self.client(at) as client:
            asked = {"model": "gpt-4o", "messages": MESSAGES, "user": "emp-7", "stream": True}
            for one in client.chat.completions.create(**asked):
                at.release(one)


class Responses(_Proxied):
    name = "LiteLLM proxy with `sealtrail.litellm.audit`, responses"

    def run(self, at):
        with self.client(at) as client:
            asked = {"model": "gpt-4o", "input": PROMPT, "user": "emp-7"}
            at.release(client.responses.create(**asked))


class _Sdk(Row):
    part = "Programs with hooks"
    tested_with = ("litellm", "openai")
    needs = ("litellm", "openai")

    def ask(self, at, **more):
        import litellm

        litellm.callbacks = []
        litellm.in_memory_llm_clients_cache.flush_cache()
        asked = {"model": "openai/gpt-4o", "messages": MESSAGES, "api_key": "k", "max_retries": 0}
        return litellm.completion(**asked | {"api_base": f"{at.provider}/v1"} | more)


class Session(_Sdk):
    name = "LiteLLM SDK with `sealtrail.litellm.sessions`, OpenAI's format"

    def run(self, at):
        import litellm

        from sealtrail.litellm import sessions

        own, other = sessions(at.trail)
        litellm.client_session = own
        try:
            at.release(self.ask(at))
        finally:
            litellm.client_session = None
            own.close()
            asyncio.run(other.aclose())


class SessionElsewhere(_Sdk):
    name = "LiteLLM SDK with `sealtrail.litellm.sessions`, Anthropic's format"
    holds = False
    reason = (
        "LiteLLM sends other formats than OpenAI's through a client of its own and does not ask "
        "`client_session`: nothing is on record. Take the gateway as `api_base`."
    )

    def run(self, at):
        import litellm

        from sealtrail.litellm import sessions

        own, other = sessions(at.trail, provider="anthropic")
        litellm.client_session = own
        try:
            at.release(self.ask(at, model="anthropic/m", api_base=at.provider))
        finally:
            litellm.client_session = None
            own.close()
            asyncio.run(other.aclose())


class LogHooks(_Sdk):
    name = "LiteLLM SDK, `log_pre_api_call` and `log_success_event`"
    holds = False
    reason = (
        "LiteLLM logs what its logging hooks raise and goes on; `log_success_event` runs in a "
        "thread, beside the answer. Take the proxy's hooks, or the gateway as `api_base`."
    )

    def run(self, at):
        import litellm
        from litellm.integrations.custom_logger import CustomLogger

        trail = at.trail

        class Logger(CustomLogger):
            def log_pre_api_call(self, model, *_):
                self.call = trail.gen(model=f"litellm/{model}", prompt=PROMPT)
                self.call.start()

            def log_success_event(self, _, answer, *__):
                self.call.output(answer.choices[0].message.content)
                self.call.finish()

        kept = litellm.input_callback, litellm.success_callback
        litellm.input_callback, litellm.success_callback = [Logger()], [Logger()]
        try:
            at.release(self.ask(at))
        finally:
            litellm.input_callback, litellm.success_callback = kept
