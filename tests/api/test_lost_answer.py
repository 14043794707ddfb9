# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceptance: an answer that was lost after the COMMIT is asked for again on another process."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest
from dev_ledger import eventually, second_server
from house import attempt, event_id, export, gen

from sealtrail import Recorder
from sealtrail.verify.trust import Trust


@contextlib.contextmanager
def cutting(url: str) -> Iterator[str]:
    """A TCP proxy that carries one request there and cuts the line when its answer comes back.

    Any later connection is carried both ways.
    """
    parts = urlsplit(url)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    stop, cut = threading.Event(), threading.Event()
    threads = []

    def carry(client: socket.socket) -> None:
        with client, socket.create_connection((parts.hostname, parts.port)) as server:
            back = threading.Thread(target=answers, args=(client, server))
            back.start()
            pump(client, server)
            back.join()

    def answers(client: socket.socket, server: socket.socket) -> None:
        if cut.is_set():
            pump(server, client)
        elif server.recv(65536):  # The answer has begun: the COMMIT is done.
            cut.set()
            client.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = listener.accept()
                threads.append(threading.Thread(target=carry, args=(client,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        acceptor.join()
        listener.close()
        for thread in threads:
            thread.join(timeout=10)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def second(dev, tmp_path_factory):
    """Another server process on the same database, keystore and checkpoint store."""
    with second_server(dev, tmp_path_factory.mktemp("second")) as server:
        yield server.url


def post(url, dev, request):
    headers = {"authorization": f"Bearer {dev.pipeline}"}
    return httpx2.post(f"{url}/v1/events", json=request, headers=headers, timeout=30)


SAME = ("event_id", "origin", "position", "leaf", "entry", "recorded_at", "disclosures")


def test_a_lost_answer_is_found_again_on_another_process(dev, second):
    """200, the same position and leaf, and the same disclosures: made anew from the retry's key."""
    request = attempt()
    with cutting(dev.url) as proxy, pytest.raises(httpx2.TransportError):
        post(proxy, dev, request)

    answer = post(second, dev, request)
    first = post(dev.url, dev, request)

    assert answer.status_code == first.status_code == 200
    assert answer.headers["sealtrail-repeat"] == "true"
    assert {name: answer.json()[name] for name in SAME} == {
        name: first.json()[name] for name in SAME
    }
    assert set(answer.json()["disclosures"]) == {"prompt.user", "actor.subject_id"}


def test_a_recorder_behind_a_bad_line_notices_nothing(dev):
    """Our own client retries by itself, and believes the second answer only after checking it."""
    trust = Trust.parse(dev.trust)
    request = attempt()
    with cutting(dev.url) as proxy, Recorder(proxy, dev.pipeline, trust=trust) as recorder:
        receipt = recorder.post(
            request["type"],
            aggregate_id=request["aggregate_id"],
            body=request["body"],
            on_behalf_of=request["on_behalf_of"],
            sealed=request["sealed"],
        )

    assert receipt.repeat
    assert set(receipt.disclosures) == {"prompt.user", "actor.subject_id"}


def test_what_one_process_recorded_another_knows_at_once(dev, second):
    """A load balancer sends each step of a life to the other process; none is refused for that."""
    image, picture, steps = event_id(), event_id(), []
    for url in (second, dev.url):
        post(url, dev, attempt())  # Both have states in memory.
    early = post(dev.url, dev, gen(image))

    for url, request in (
        (second, attempt(image)), (dev.url, gen(image, picture)), (second, export(picture)),
        (dev.url, gen(image)),
    ):  # fmt: skip
        steps.append(post(url, dev, request).status_code)

    assert early.status_code == 409
    assert steps == [201, 201, 201, 409]


def test_both_processes_write_one_log(dev, second):
    """Forty requests at once, every other one elsewhere: forty positions, one history."""
    requests = [attempt() for _ in range(40)]
    receipts = {}

    def send(at, request):
        receipts[at] = post((dev.url, second)[at % 2], dev, request)

    threads = [threading.Thread(target=send, args=item) for item in enumerate(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.status_code for answer in receipts.values()} == {201}
    positions = sorted(answer.json()["position"] for answer in receipts.values())
    assert len(set(positions)) == 40
    sizes = sorted({answer.json()["size"] for answer in receipts.values()})
    for first, last in itertools.pairwise(sizes):
        found = dev.ask("GET", f"/v1/consistency?from={first}&to={last}")
        assert found.status_code == 200


def test_a_process_that_dies_at_once_leaves_nothing_half_done(dev, tmp_path):
    """Killed with requests under way: each is sent again elsewhere, and is there once."""
    requests, answers = [attempt() for _ in range(60)], {}
    with second_server(dev, tmp_path) as second:

        def send(request):
            with contextlib.suppress(httpx2.TransportError):
                answers[request["event_id"]] = post(second.url, dev, request)

        threads = [threading.Thread(target=send, args=(request,)) for request in requests]
        for thread in threads:
            thread.start()
        eventually(lambda: answers)
        second.process.kill()
        for thread in threads:
            thread.join()

    again = {request["event_id"]: post(dev.url, dev, request) for request in requests}

    for id_, answer in again.items():
        assert answer.status_code in (200, 201)
        if id_ in answers and answers[id_].status_code == 201:
            assert answer.status_code == 200
            assert answer.json()["leaf"] == answers[id_].json()["leaf"]
    positions = [answer.json()["position"] for answer in again.values()]
    assert len(set(positions)) == len(requests)
