# SPDX-License-Identifier: GPL-3.0-or-later
"""Is it alive, would it record, what does it count; who else uses the server meanwhile."""

import contextlib
import json
import shutil
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from dev_ledger import running
from house import attempt, house_in
from served_house import serving

from api import body

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def own(pattern, tmp_path):
    with house_in(pattern, tmp_path) as house, serving(house) as made:
        yield made


def connection(url):
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def head(service, length, *extra):
    lines = [
        "POST /v1/events HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {service.pipeline}",
        f"content-length: {length}",
        *extra,
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def answered(sock):
    """The whole answer; the server must close or send its announced length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    headers, _, rest = data.partition(b"\r\n\r\n")
    for line in headers.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(rest) < int(line.split(b":")[1]):
                rest += sock.recv(65536)
    return headers, rest


def test_livez_asks_nobody(service):
    answer = service.ask("GET", "/livez")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_readyz_says_that_a_post_would_be_recorded(service):
    answer = service.ask("GET", "/readyz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_readyz_is_red_when_the_checkpoint_store_is_gone(own):
    """No receipt may leave without it; the answer to a POST says the same."""
    own.post(attempt())
    shutil.move(own.house.directory / "checkpoints", own.house.directory / "elsewhere")

    ready, posted = own.ask("GET", "/readyz"), own.post(attempt())

    assert (ready.status_code, ready.json()["code"]) == (503, "not-ready")
    assert ready.headers["retry-after"]
    assert ready.json()["facts"][own.house.tenant] == "checkpoint-store-unavailable"
    assert posted.status_code == 503
    shutil.move(own.house.directory / "elsewhere", own.house.directory / "checkpoints")
    assert own.ask("GET", "/readyz").status_code == 200
    assert own.post(attempt()).status_code == 201


def test_what_was_committed_without_a_checkpoint_gets_its_receipt_on_retry(own):
    """The store failed between COMMIT and receipt: 503, and the same request again is a repeat."""
    own.post(attempt())
    request = attempt()
    shutil.move(own.house.directory / "checkpoints", own.house.directory / "elsewhere")
    refused = own.post(request)
    shutil.move(own.house.directory / "elsewhere", own.house.directory / "checkpoints")

    answer = own.post(request)

    assert refused.status_code == 503
    assert answer.status_code in (200, 201)
    assert own.post(request).json()["position"] == answer.json()["position"]
    assert own.size == answer.json()["position"] + 1


def test_metrics_count_what_is_in_the_log(service):
    service.post(attempt())

    answer = service.ask("GET", "/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
    tenant = service.house.tenant
    assert samples[f'sealtrail_log_size{{book="{tenant}"}}'] == str(service.size)
    assert samples[f'sealtrail_writer_stopped{{book="{tenant}"}}'] == "0"
    assert samples[f'sealtrail_writer_waiting{{book="{tenant}"}}'] == "0"


def test_a_slow_body_does_not_hold_its_connection(service, monkeypatch):
    """Who announces a body and stops sending is answered, and cut off; others do not wait."""
    monkeypatch.setattr(body, "BODY_S", 0.5)
    size = service.size

    with connection(service.url) as sock:
        sock.sendall(head(service, 1000) + b'{"event_id"')
        began = time.monotonic()
        assert service.post(attempt()).status_code == 201
        headers, document = answered(sock)
        assert time.monotonic() - began < 10
        assert sock.recv(1) == b""

    assert b" 503 " in headers.split(b"\r\n")[0]
    assert json.loads(document)["code"] == "body-incomplete"
    assert service.size == size + 1


def test_a_body_that_ends_early_records_nothing(service):
    size = service.size
    with connection(service.url) as sock:
        sock.sendall(head(service, 1000) + b"[" * 10)

    assert service.post(attempt()).status_code == 201
    assert service.size == size + 1


def test_a_body_comes_in_any_pieces(service):
    """Byte by byte, after `Expect: 100-continue`, and two requests in one piece."""
    data = json.dumps(attempt()).encode()
    with connection(service.url) as sock:
        sock.sendall(head(service, len(data), "expect: 100-continue"))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        for at in range(0, len(data), 50):
            sock.sendall(data[at : at + 50])
            time.sleep(0.001)
        first, _ = answered(sock)
        sock.sendall((head(service, len(data)) + data) * 2)
        second, _ = answered(sock)

    assert b" 201 " in first.split(b"\r\n")[0]
    assert b" 200 " in second.split(b"\r\n")[0]


def test_what_is_no_http_is_refused_by_the_server_itself(service):
    with connection(service.url) as sock:
        sock.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")


def left_behind(data):
    """Processes that still work in a data directory: its PostgreSQL."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # Ended meanwhile.
            if data in link.readlink().parents:
                found.append(link)
    return found


def test_a_server_that_is_told_to_stop_finishes_what_it_accepted(tmp_path):
    """Every 201 that left is in the log when the ledger starts again; nothing is recorded twice."""
    kept, lost = [], []
    with running(tmp_path) as dev:
        stop = threading.Event()

        def send():
            while not stop.is_set():
                request = attempt()
                try:
                    answer = dev.post(request)
                except Exception:  # noqa: BLE001 - the connection was refused or cut
                    lost.append(request)
                    return
                (kept if answer.status_code == 201 else lost).append(request)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 30
        while len(kept) < 8:
            assert time.monotonic() < until
            time.sleep(0.05)
        dev.process.terminate()
        assert dev.process.wait(timeout=30) == 0
        assert left_behind(dev.data) == []
        stop.set()
        for thread in threads:
            thread.join()

    with running(tmp_path) as dev:
        again = [dev.post(request).status_code for request in kept]
        retried = [dev.post(request).status_code for request in lost]

    assert kept
    assert set(again) == {200}
    assert set(retried) <= {200, 201}
