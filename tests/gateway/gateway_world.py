# SPDX-License-Identifier: GPL-3.0-or-later
"""A real ledger, a provider that keeps its own books, and the gateway between an SDK and both."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import uvicorn
from provider_server import Provider
from served_house import Service

from sealtrail.verify.trust import Trust
from sealtrail_gateway.assembly import make_gateway
from sealtrail_gateway.policies import Verdict
from sealtrail_gateway.settings import KnownKey, Settings, Upstream

#: The provider's own credential, which no application ever has.
CREDENTIAL = "the providers own credential"
PERSON_KEY = "stg_a key of one person"
SERVICE_KEY = "stg_a key that many share"


@dataclass
class World:
    service: Service
    provider: Provider
    address: str
    url: str
    settings: Settings = field(repr=False)
    since: int = 0

    def begin(self) -> None:
        """Forget what earlier tests recorded and called."""
        self.since = self.service.size
        self.provider.calls.clear()
        self.provider.moods.clear()

    @property
    def entries(self) -> list[dict[str, Any]]:
        reader = self.service.house.book.reader
        return [one.entry.value for one in reader.between(self.since, self.service.size)]

    @contextmanager
    def other(self, **options: Any) -> Iterator[str]:
        """The address of another gateway; hooks and attempts are options, the rest settings."""
        own = {name: options.pop(name) for name in ("hooks", "attempts") if name in options}
        settings = settings_for(self.service, self.address, **options)
        with gating(settings, **own) as url:
            yield url

    @property
    def types(self) -> list[str]:
        return [entry["type"] for entry in self.entries]

    def person(self, entry: dict[str, Any]) -> Any:
        return self.service.house.book.vault.open(entry["event_id"]).values["actor.subject_id"]

    def values(self, entry: dict[str, Any]) -> Any:
        return self.service.house.book.vault.open(entry["event_id"]).values


def settings_for(service: Service, address: str, **changes: Any) -> Settings:
    """Every provider of the tests listens under one address."""
    upstreams = {
        name: Upstream(name=name, url=f"{address}{path}", reader=reader, credential=CREDENTIAL)
        for name, path, reader in (
            ("openai", "/v1", "openai"),
            ("anthropic", "", "anthropic"),
            ("nanogpt", "/v1", "nanogpt"),
            ("house-models", "/v1", "openai"),
        )
    }
    known = {
        sha256(PERSON_KEY.encode()).hexdigest(): KnownKey(person="emp-7"),
        sha256(SERVICE_KEY.encode()).hexdigest(): KnownKey(service="studio"),
    }
    told = {
        "ledger_url": service.url,
        "ledger_token": service.pipeline,
        "trust": Trust.parse(service.house.trust().print()),
        "upstreams": upstreams,
        "callers": known,
        "timeout_s": 5.0,
    }
    return Settings(**{**told, **changes})


@contextmanager
def gating(settings: Settings, **options: Any) -> Iterator[str]:
    """The address of a gateway on a port of this machine."""
    config = uvicorn.Config(
        make_gateway(settings, **options), access_log=False, log_level="warning", lifespan="on"
    )
    server = uvicorn.Server(config)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(timeout=0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()


class Strict:
    """A hook that says no to every output, once there is one."""

    def before(self, asked):
        del asked

    def after(self, asked, told):
        del asked, told
        classifier = {"id": "strict", "version": "1"}
        judgement = {"stage": "post_output", "classifier": classifier, "filter_action": "block"}
        return Verdict(refused=True, judgement=judgement, code="strict")
