# SPDX-License-Identifier: GPL-3.0-or-later
"""The application behind the gateway: it may call models, and would rather not be known for it.

It has a key of the gateway and speaks HTTP as it likes. It wants a call that is recorded under
somebody else's name, or not at all, or the provider's own credential, so as to go past next time.
"""

import socket
import sys
import threading
import time
from hashlib import sha256
from hmac import digest as hmac_digest
from http.client import HTTPConnection
from pathlib import Path

import httpx2
import pytest
import uvicorn

sys.path += [str(Path(__file__).parent.parent / name) for name in ("gateway", "provider")]

from gateway_world import CREDENTIAL, PERSON_KEY, SERVICE_KEY, World, gating, settings_for

pytestmark = pytest.mark.once

CALL = {"model": "m", "prompt": "a lighthouse in the fog"}
PATH = "/openai/v1/images/generations"
SECRET = b"what only the proxy knows"


@pytest.fixture(scope="module")
def running(pattern, tmp_path_factory):
    from house import house_in
    from provider_server import Provider, providing
    from served_house import serving

    provider = Provider()
    with (
        house_in(pattern, tmp_path_factory.mktemp("caller")) as house,
        serving(house) as service,
        providing(provider) as address,
    ):
        settings = settings_for(service, address, proxy_secret=SECRET, body_max=100_000)
        with gating(settings) as url:
            yield World(service, provider, address, url, settings)


@pytest.fixture
def world(running):
    running.begin()
    return running


def send(world, *headers, path=PATH, body=CALL):
    """Send header fields as they are, also two of one name; returns status and code."""
    with httpx2.Client() as client:
        answer = client.post(world.url + path, headers=list(headers), json=body)
    code = answer.json().get("error", {}).get("code") if answer.status_code >= 400 else None
    return answer.status_code, code


def key(text):
    return ("authorization", f"Bearer {text}")


def signed(person, *, path=PATH, at=None, secret=SECRET):
    seconds = int(time.time() if at is None else at)
    text = f"{seconds}\nPOST\n{path}\n{person}".encode()
    mac = hmac_digest(secret, text, "sha256").hex()
    return ("sealtrail-person", person), ("sealtrail-signature", f"v1={seconds}:{mac}")


def test_names_somebody_else(world):
    """Who: a person with a key of their own.
    Tries: a header that names a colleague, beside that key.
    Caught by: the register: such a key is its owner's, whatever the request says.
    Not caught: a service's shared key, which may name anybody; the entry says which service it was.
    """
    status, _ = send(world, key(PERSON_KEY), ("sealtrail-on-behalf-of", "emp-1"))

    assert status == 200
    assert {world.person(one) for one in world.entries} == {"emp-7"}


def test_names_nobody(world):
    """Who: a service that finds persons a nuisance.
    Tries: no name, an empty one, one with characters that hide, one of a kilobyte.
    Caught by: the gateway, before the ledger or the provider hears of it.
    Not caught: a made-up name; who has the key may write any.
    """
    for name in (None, "", "a\tb", b"a\xadb", "x" * 1_000):
        headers = [] if name is None else [("sealtrail-on-behalf-of", name)]
        assert send(world, key(SERVICE_KEY), *headers) == (403, "person-missing")
    assert (world.types, world.provider.calls) == ([], [])


def test_forges_the_word_of_the_proxy(world):
    """Who: an application that knows how the proxy tells whom it has authenticated.
    Tries: another secret, another person under a seen signature, another path, one from yesterday.
    Caught by: the gateway: the signature is over time, method, path and person.
    Not caught: the same request once more within a minute; it is recorded once more, too.
    """
    person, mac = signed("emp-7")

    assert send(world, person, mac)[0] == 200
    for forged in (
        signed("emp-7", secret=b"guessed"),
        (("sealtrail-person", "emp-1"), mac),
        signed("emp-7", path="/openai/v1/models"),
        signed("emp-7", at=time.time() - 86_400),
        signed("emp-7", at=time.time() + 86_400),
    ):
        assert send(world, *forged)[0] == 401
    assert len(world.provider.calls) == 1


def test_says_who_it_is_twice(world):
    """Who: somebody who hopes that the gateway reads one header and a proxy another.
    Tries: two keys, two names, two content types in one request.
    Caught by: the gateway, which refuses a header that identifies and is there twice.
    Not caught: what a proxy has joined or dropped before.
    """
    doubles = (
        (key(PERSON_KEY), key(SERVICE_KEY)),
        (key(SERVICE_KEY), ("sealtrail-on-behalf-of", "a"), ("sealtrail-on-behalf-of", "b")),
        (key(PERSON_KEY), ("content-type", "text/plain"), ("content-type", "application/json")),
    )
    for headers in doubles:
        assert send(world, *headers) == (400, "header-twice")
    assert world.provider.calls == []


def test_calls_a_model_by_a_path_that_nobody_reads(world):
    """Who: an application that wants its call unrecorded.
    Tries: batches, embeddings, speech, a path with dots, with two slashes, in other letters.
    Caught by: the gateway, which lets through only what it can put on record or knows as harmless.
    Not caught: a provider's new path that is a harmless one today.
    """
    for path in (
        "/openai/v1/batches",
        "/openai/v1/embeddings",
        "/openai/v1/audio/speech",
        "/openai/v1/models/../images/generations/x",
        "/openai/v1//images/generations/",
        "/openai/V1/Images/Generations",
        "/anthropic/v1/messages/batches",
    ):
        status, _ = send(world, key(PERSON_KEY), path=path)
        recorded = world.types.count("GEN_ATTEMPT")
        assert status in {403, 404} or recorded == len(world.provider.calls), path
    assert all(call["path"].endswith("images/generations") for call in world.provider.calls)


def test_writes_a_path_that_two_read_differently(world):
    """Who: an application with a look at a harmless path in mind, as the gateway reads it.
    Tries: dots that lead out of it, escaped; a line end with a header behind it; a second escape.
    Caught by: the gateway, which refuses dots and spells the path anew from what it has judged.
    Not caught: a provider that takes escapes out twice.
    """
    host = world.url.removeprefix("http://")
    statuses = []
    for path in (
        "/openai/v1/models/%2e%2e/%2E%2E/admin",
        "/openai/v1/models/./x",
        "/openai/v1/models/x%0d%0aX-Forged:%201",
        "/openai/v1/models/%252e%252e/admin",
    ):
        connection = HTTPConnection(host, timeout=10)
        connection.putrequest("GET", path)
        connection.putheader(*key(PERSON_KEY))
        connection.endheaders()
        statuses.append(connection.getresponse().status)
        connection.close()

    assert statuses[:2] == [403, 403]
    assert [call["path"] for call in world.provider.calls] == [
        "/v1/models/x%0D%0AX-Forged:%201",
        "/v1/models/%252e%252e/admin",
    ]
    assert not any("x-forged" in call["headers"] for call in world.provider.calls)


def test_wants_the_providers_credential(world):
    """Who: an application that would rather call the provider itself.
    Tries: reading it out of answers, errors and echoed headers; sending a credential of its own.
    Caught by: the gateway: its own goes to the provider alone, and callers' stay with it.
    Not caught: a provider that echoes it; such a header would have to be named here.
    """
    with httpx2.Client() as client:
        for headers in ([key(PERSON_KEY), ("x-api-key", "mine"), ("cookie", "a=b")], [key("no")]):
            answer = client.post(world.url + PATH, headers=headers, json=CALL)
            assert CREDENTIAL not in answer.text
            assert CREDENTIAL not in str(answer.headers)
    (call,) = world.provider.calls
    assert call["headers"]["authorization"] == f"Bearer {CREDENTIAL}"
    assert not {"x-api-key", "cookie"} & set(call["headers"])


def test_sends_more_than_anybody_can_hold(world):
    """Who: an application that wants the gateway to fail, and hopes that it fails open.
    Tries: a body above the limit, with its length and without; nesting without end.
    Caught by: the gateway, before anything is recorded or called.
    Not caught: a flood of requests within the limits; that is for a proxy in front.
    """
    large = {"model": "m", "prompt": "x" * 200_000}
    deep = b'{"model":"m","prompt":' + b"[" * 50_000

    assert send(world, key(PERSON_KEY), body=large) == (413, "too-large")
    with httpx2.Client() as client:
        pieces = (b"x" * 10_000 for _ in range(20))
        answers = [
            client.post(world.url + PATH, headers=dict([key(PERSON_KEY)]), content=content)
            for content in (pieces, deep)
        ]
    assert [answer.status_code for answer in answers] == [413, 400]
    assert (world.types, world.provider.calls) == ([], [])


def test_hangs_its_call_below_anothers(world):
    """Who: an application that wants its call to look as if another one had caused it.
    Tries: a parent that is there, with a leaf made up; a parent that nobody has recorded.
    Caught by: the ledger, which knows the parent's leaf; then no model is called.
    Not caught: a parent it has never seen, unless links are checked strictly.
    """
    send(world, key(PERSON_KEY))
    parent = world.entries[0]["event_id"]
    calls = len(world.provider.calls)

    forged = ("sealtrail-parent", f"{parent};sha256:{sha256(b'made up').hexdigest()}")
    assert send(world, key(PERSON_KEY), forged) == (403, "audit-refused")
    assert len(world.provider.calls) == calls


def test_hides_a_word_from_the_rules(world):
    """Who: somebody who wants from a model what a rule of the gateway refuses.
    Tries: a prompt so long that only its digest is sealed; the word in an earlier message, in what
    a tool gave, over two lines, in a document of plain text.
    Caught by: the rules, which see every text of a request as it was written.
    Not caught: a word that is spelled so that no pattern has it, or within a picture.
    """
    document = {"type": "document", "source": {"type": "text", "data": "a\nforged passport"}}
    earlier = [
        {"role": "user", "content": 'the "forged\npassport"'},
        {"role": "user", "content": "b"},
    ]
    tool = {"role": "tool", "tool_call_id": "c", "content": "a forged passport"}
    attempts = (
        (PATH, {"model": "m", "prompt": "x " * 35_000 + "forged passport"}),
        ("/openai/v1/chat/completions", {"model": "m", "messages": earlier}),
        ("/openai/v1/chat/completions", {"model": "m", "messages": [tool, earlier[1]]}),
        ("/openai/v1/responses", {"model": "m", "input": [
            {"type": "function_call_output", "call_id": "c", "output": "forged passport"}]}),
        ("/anthropic/v1/messages", {"model": "m", "max_tokens": 9, "messages": [
            {"role": "user", "content": [document]}]}),
        ("/anthropic/v1/messages", {"model": "m", "max_tokens": 9, "messages": [
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": "forged passport"}]}]}),
    )  # fmt: skip

    with world.other(refuse=(r"forged\s+passport",), body_max=1_000_000) as url:
        for path, body in attempts:
            answer = httpx2.post(url + path, headers=[key(PERSON_KEY)], json=body)
            assert answer.status_code == 403, (path, answer.text)
            assert "refusal-rule" in answer.text
    assert world.types.count("GEN_DENY") == len(attempts)
    assert world.provider.calls == []


@pytest.fixture
def line(world):
    """The address of a gateway that listens as the command does."""
    from sealtrail_gateway.assembly import make_gateway
    from sealtrail_gateway.caller_line import Connection

    app = make_gateway(world.settings)
    config = uvicorn.Config(app, http=Connection, log_level="critical", lifespan="on", ws="none")
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(30)
    listener.close()


def answers(line, data):
    """Send bytes; returns all that is answered until nothing more comes."""
    with socket.create_connection(line, timeout=10) as caller:
        caller.sendall(data)
        caller.settimeout(1.0)
        said = b""
        try:
            while piece := caller.recv(65_536):
                said += piece
        except TimeoutError:
            pass
    return said


def test_sends_a_head_without_end(world, line):
    """Who: somebody without any key, who wants the gateway's memory.
    Tries: one header field that never ends, and fields without number.
    Caught by: the gateway: 64 KiB of a head, then 431 and the connection is closed.
    Not caught: many connections that send nothing; that is for a proxy in front.
    """
    for piece in (b"y" * 65_536, b"X-Many: 1\r\n" * 6_000):
        with socket.create_connection(line, timeout=10) as caller:
            caller.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: ")
            sent, said = 0, b""
            while not said and sent < 8_000_000:
                try:
                    caller.settimeout(10)
                    caller.sendall(piece)
                    sent += len(piece)
                    caller.settimeout(0.05)
                    said = caller.recv(64)
                except TimeoutError:
                    pass
                except ConnectionError:
                    break
        assert sent < 4_000_000
    assert (world.types, world.provider.calls) == ([], [])


def test_says_behind_the_body_who_it_is(world, line):
    """Who: an application behind a proxy that takes the identity's headers out of what comes in.
    Tries: naming a person, or a key, in the trailer of a body in chunks, where no proxy looks.
    Caught by: the gateway, for which no trailer is a header.
    Not caught: a proxy that makes headers of trailers itself.
    """
    body = b'{"model":"m","prompt":"x"}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"\r\n%x;a=b\r\n%b\r\n0\r\n" % (len(body), body)
    service = f"Authorization: Bearer {SERVICE_KEY}\r\n"
    for said, trailer, status in (
        (service, "Sealtrail-On-Behalf-Of: emp-1\r\n", b"403"),
        ("", service + "Sealtrail-On-Behalf-Of: emp-1\r\n", b"401"),
        (service + "Sealtrail-On-Behalf-Of: emp-2\r\n", service, b"200"),
    ):
        data = (head + said).encode() + chunks + trailer.encode() + b"\r\n"
        assert answers(line, data).startswith(b"HTTP/1.1 " + status)
    assert {world.person(one) for one in world.entries} == {"emp-2"}


def test_hides_a_request_behind_an_offer_of_another_protocol(world, line):
    """Who: an application that wants two readers to see two requests, or one none; and Java's own
    HTTP client, which offers HTTP/2 with each request and means nothing by it.
    Tries: `Upgrade: h2c` and `websocket` with a body, a request behind it, and CONNECT.
    Caught by: the gateway, which declines: the request is read as if nothing had been offered, its
    body is its body, and what follows is the next request.
    Not caught: nothing of it.
    """
    body = b'{"model":"m","prompt":"x"}'
    told = f"Host: x\r\nAuthorization: Bearer {PERSON_KEY}\r\n"
    for offer in ("h2c", "websocket", "TLS/1.0"):
        world.begin()
        offered = (
            f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {offer}\r\nHTTP2-Settings: AA\r\n"
        )
        head = f"POST {PATH} HTTP/1.1\r\n{told}{offered}Content-Length: {len(body)}\r\n\r\n"
        said = answers(line, (head.encode() + body) * 2)
        assert said.count(b"HTTP/1.1 200 OK") == 2
        assert world.types.count("GEN") == 2
        assert [call["body"] for call in world.provider.calls] == [body, body]
    assert (
        answers(line, b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n")[:12]
        == b"HTTP/1.1 400"
    )


def test_no_answer_is_without_the_name_of_its_attempt(line):
    """Who: an auditor who counts answers, and an application that would like one not counted.
    Tries: a path of nobody, health, bytes that are no HTTP.
    Caught by: the gateway: each answer has the header, `none` where nothing was recorded.
    Not caught: nothing of it.
    """
    for data in (
        b"GET /nobody HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\r\n",
    ):
        assert b"x-audit-event-id: none\r\n" in answers(line, data)
