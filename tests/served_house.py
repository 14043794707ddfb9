# SPDX-License-Identifier: GPL-3.0-or-later
"""A real HTTP server on a free port over a real ledger, and a client that talks to it."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from house import House

from api.state import State
from ledger.access import Credentials
from ledger.archive.artifacts import Storeroom
from ledger.archive.directory import DirectoryArchive
from ledger.setting_values import LinkCheck
from scripts.serve import bind, make_server

DAY_S = 86_400


@dataclass
class Service:
    """A tenant's API: its address, its two tokens, and the house behind it."""

    house: House
    url: str
    pipeline: str
    auditor: str
    client: httpx2.Client = field(repr=False)

    def ask(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Any:
        headers = {**options.pop("headers", {})}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return self.client.request(method, self.url + path, headers=headers, **options)

    def post(self, request: Any, path: str = "/v1/events", **options: Any) -> Any:
        """Send one event, or whatever else is JSON, as the pipeline."""
        return self.ask("POST", path, token=self.pipeline, json=request, **options)

    def get(self, path: str, **options: Any) -> Any:
        """Read as the auditor."""
        return self.ask("GET", path, token=self.auditor, **options)

    def public(self, path: str, **options: Any) -> Any:
        """Read as anybody, from the Book that is named."""
        return self.ask("GET", f"/v1/books/{self.house.tenant}{path}", **options)

    @property
    def size(self) -> int:
        return self.house.book.reader.head().size

    @property
    def looks(self) -> list[dict[str, Any]]:
        """What the access Book says, oldest first."""
        book = self.house.access_book
        entries = book.reader.between(0, book.reader.head().size)
        return [one.entry.value for one in entries if one.entry.value["type"] == "ACCESS"]


FLAG = LinkCheck()


@contextlib.contextmanager
def serving(house: House, *, checkers: int = 0, link_check: LinkCheck = FLAG) -> Iterator[Service]:
    """Serve a house over HTTP until the context ends."""
    trust_file = house.directory / "trust.json"
    trust_file.write_bytes(house.trust().print())
    with (
        answering(house, trust_file, checkers=checkers, link_check=link_check) as url,
        httpx2.Client(timeout=60) as client,
    ):
        yield Service(
            house=house,
            url=url,
            pipeline=house.token(),
            auditor=house.token("auditor", "person", "auditor-1"),
            client=client,
        )


@contextlib.contextmanager
def answering(
    house: House, trust_file: Path, *, checkers: int = 0, link_check: LinkCheck = FLAG
) -> Iterator[str]:
    """Run the HTTP server of a house in a thread; yields its address."""
    state = State(
        shelf=house.shelf,
        credentials=Credentials(house.database),
        trust_file=trust_file,
        packet_dir=house.directory / "packets",
        packet_ttl_s=DAY_S,
        checkers=checkers,
        link_check=link_check,
        storeroom=Storeroom(
            archive=DirectoryArchive(house.directory / "archive"),
            uploads=house.directory / "uploads",
        ),
    )
    ready = threading.Event()
    server = make_server(state, ready=ready.set)
    listener = bind("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(timeout=30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
