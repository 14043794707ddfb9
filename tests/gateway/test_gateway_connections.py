# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own HTTP: what others may answer, and what is never taken for an answer.

A server of bytes stands at the other end, which says anything, also what no library would.
"""

import asyncio
import io
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import uvloop
from byte_server import Server, serving

from sealtrail.receipt import RECEIPT_MAX
from sealtrail.wire import AnswerTooLarge
from sealtrail_gateway.connections import Line, UpstreamFailed, Upstreams
from sealtrail_gateway.pool import Address, quoted_path, quoted_query
from sealtrail_gateway.settings import Upstream

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Odd: 1\r\n\r\nok"


@asynccontextmanager
async def line_to(url, timeout_s=5.0):
    line = Line(url, "token", timeout_s=timeout_s)
    try:
        yield line
    finally:
        await line.close()
        await asyncio.sleep(0)


async def asked(line, body=b"{}"):
    return await line.once("POST", "/v1/events", body, {"content-type": "application/json"})


async def called(url, *, method="POST", target="/x", body=b"?", timeout_s=5.0, pieces=False):
    """Status and body of a call of a provider, or the code with which it failed."""
    upstreams = Upstreams(timeout_s=timeout_s)
    upstream = Upstream(name="u", url=url, reader="openai", credential="secret")
    try:
        async with upstreams.send(
            upstream, method, target, headers={"x-a": "b"}, body=io.BytesIO(body)
        ) as reply:
            if pieces:
                return reply.status, b"".join([piece async for piece in reply.pieces()])
            return reply.status, await reply.whole(100_000)
    except UpstreamFailed as failed:
        return failed.code
    finally:
        await upstreams.close()
        await asyncio.sleep(0)


def run(work):
    """Do it in Python's own event loop, and in the one that the gateway runs in."""
    for loop in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(asyncio.wait_for(work(), 20))


def test_one_connection_carries_many_requests():
    """And each begins with the same bytes but for the length of its body."""

    async def work():
        server = Server([OK] * 3)
        async with serving(server) as url, line_to(url) as line:
            for body in (b"{}", b"{ }", b"[]"):
                answer = await asked(line, body)
                assert (answer.status, answer.body, answer.headers["x-odd"]) == (200, b"ok", "1")
        assert server.connections == 1
        heads = {one.partition(b"content-length: ")[0] for one in server.heard}
        assert len(heads) == 1
        assert b"authorization: Bearer token\r\n" in heads.pop()

    run(work)


ENDS = {
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole",
    "chunks": CHUNKED + b"2\r\nwh\r\n3;x=y\r\nole\r\n0\r\ntrailer: late\r\n\r\n",
    "the connection": b"HTTP/1.1 200 OK\r\n\r\nwhole",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nwhole",
    "interim answers": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n"
    b"content-length: 5\r\n\r\nwhole",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("pieces", [False, True])
def test_an_answer_ends_as_its_header_says(end, pieces):
    """In one piece and byte by byte, read whole and in pieces."""

    async def work():
        for answer in (ENDS[end], [bytes([one]) for one in ENDS[end]]):
            async with serving(Server([answer])) as url:
                assert await called(url, pieces=pieces) == (200, b"whole")

    run(work)


BROKEN = {
    "cut in its body": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
    "cut in its chunks": CHUNKED + b"9\r\nhalf",
    "cut before its last chunk": CHUNKED + b"4\r\nhalf\r\n",
    "cut in its header": b"HTTP/1.1 200 OK\r\ncontent-le",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 4\r\n\r\nhalf",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n"
    b"\r\n4\r\nhalf\r\n0\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Other\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhi",
    "a header without end": b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("how", BROKEN)
def test_half_an_answer_is_none(how):
    """Neither of a provider nor of the ledger."""

    async def work():
        async with serving(Server([BROKEN[how]])) as url:
            assert await called(url) == "connection"
        async with serving(Server([BROKEN[how]])) as url, line_to(url) as line:
            assert await asked(line) is None

    run(work)


def test_an_answer_to_head_has_no_body():
    """Whatever length it names; the connection is not used again."""

    async def work():
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
        async with serving(Server([[head, 1.0]])) as url:
            assert await called(url, method="HEAD", body=b"") == (200, b"")

    run(work)


def test_what_comes_unasked_is_nobodys_answer():
    """A second answer behind the first, in the same bytes or a moment later, ends it all."""

    async def work():
        forged = OK.replace(b"ok", b"no")
        for answer in (OK + forged, [OK, 0.1, forged, 1.0]):
            server = Server([answer], [OK])
            async with serving(server) as url, line_to(url) as line:
                assert (await asked(line)).body == b"ok"
                await asyncio.sleep(0.3)
                assert (await asked(line)).body == b"ok"
            assert server.connections == 2

    run(work)


def test_a_connection_that_the_ledger_has_closed_costs_no_attempt():
    """Closed behind its answer, at once or just when the next request is sent: asked once more."""

    async def work():
        for wait_s in (0.1, 0.0):
            server = Server([OK], [OK])
            async with serving(server) as url, line_to(url) as line:
                assert (await asked(line)).body == b"ok"
                await asyncio.sleep(wait_s)
                assert (await asked(line)).body == b"ok"
            assert len(server.heard) == 2

    run(work)


def test_a_provider_is_never_asked_a_second_time():
    """A call that may have been heard is paid for; the request is not repeated by the gateway."""

    async def work():
        server = Server([OK, b""], [OK])
        upstreams = Upstreams(timeout_s=5)
        async with serving(server) as url:
            upstream = Upstream(name="u", url=url, reader="openai", credential="")
            codes = []
            for _ in range(2):
                try:
                    async with upstreams.send(
                        upstream, "POST", "/x", headers={}, body=io.BytesIO(b"?")
                    ) as reply:
                        codes.append(await reply.whole(9))
                except UpstreamFailed as failed:
                    codes.append(failed.code)
            await upstreams.close()
        assert codes == [b"ok", "connection"]
        assert (server.connections, len(server.heard)) == (1, 2)

    run(work)


def test_silence_ends_a_call_and_slowness_does_not():
    """A provider may take long as long as it says something; the ledger has one time for all."""

    async def work():
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"
        slow = [head, *[one for _ in range(6) for one in (0.2, b"x")]]
        async with serving(Server([slow])) as url:
            assert await called(url, timeout_s=0.6) == (200, b"x" * 6)
        async with serving(Server([[head, b"x", 3.0]])) as url:
            assert await called(url, timeout_s=0.5) == "timeout"
        async with serving(Server([slow])) as url, line_to(url, 0.6) as line:
            assert await asked(line) is None

    run(work)


def test_more_than_is_wanted_is_not_held():
    """An answer over the limit is given up while it comes."""

    async def work():
        much = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (RECEIPT_MAX * 2)
        async with serving(Server([much + b"x" * (RECEIPT_MAX + 1)])) as url, line_to(url) as line:
            with pytest.raises(AnswerTooLarge):
                await asked(line)
        async with serving(Server([[much, *[b"x" * 50_000] * 3, 1.0]])) as url:
            assert await called(url) == "answer-too-large"

    run(work)


def test_a_slow_reader_holds_its_provider_back():
    """Pieces that nobody takes stay on the other side of the socket, and none is lost."""

    async def work():
        size = 32 * 1024 * 1024
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
        async with serving(Server([[head, *[b"x" * 1_048_576] * 32]])) as url:
            upstreams = Upstreams(timeout_s=0.5)
            upstream = Upstream(name="u", url=url, reader="openai", credential="")
            async with upstreams.send(
                upstream, "GET", "/x", headers={}, body=io.BytesIO()
            ) as reply:
                await asyncio.sleep(1.0)  # Longer than silence may be: it is we who are silent.
                assert reply._link._size < 2 * 1024 * 1024
                got = [len(piece) async for piece in reply.pieces()]
            await upstreams.close()
        assert sum(got) == size

    run(work)


def test_a_large_request_arrives_whole_and_stops_at_an_answer():
    """Eight megabytes in pieces; who answers before they are sent gets no more of them."""

    async def work():
        body = bytes(range(256)) * 32_768
        server = Server([OK])
        async with serving(server, limit=1 << 24) as url:
            assert await called(url, body=body) == (200, b"ok")
        assert server.heard[0].endswith(b"\r\n\r\n" + body)
        async with serving(Server(["at once"]), limit=1 << 16) as url:
            assert await called(url, body=body) == (413, b"")

    run(work)


@pytest.fixture
def certified(tmp_path):
    """TLS of a server for the name localhost, and the authority's certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context, tmp_path / "cert.pem"


def test_a_certificate_is_verified_and_so_is_its_name(certified, monkeypatch):
    """Neither credential nor event goes to whom no authority knows, or knows by another name."""
    context, authority = certified

    async def work(*, trusted):
        server = Server([OK], [OK])
        async with serving(server, ssl=context) as url:
            other = url.replace("localhost", "127.0.0.1")
            async with line_to(url) as line, line_to(other) as elsewhere:
                answer = await asked(line)
                assert (answer is not None) == trusted
                assert await asked(elsewhere) is None
            assert await called(url) == ((200, b"ok") if trusted else "connection")
            assert await called(other) == "connection"
        assert len(server.heard) == (2 if trusted else 0)

    run(lambda: work(trusted=False))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    run(lambda: work(trusted=True))


def test_a_ledger_may_listen_on_a_socket_of_this_machine(tmp_path):
    """`unix:/path`, as the ledger itself prints it."""

    async def work():
        server = Server([OK])
        path = str(tmp_path / "api")
        listening = await asyncio.start_unix_server(server.speak, path)
        async with line_to(f"unix:{path}") as line:
            assert (await asked(line)).body == b"ok"
        listening.close()
        await listening.wait_closed()

    run(work)


@pytest.mark.parametrize(
    "url", ["ftp://h", "http://", "http://u:p@h", "http://h?q", "unix:relative", "localhost:80"]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError):
        Address.parse(url)


def test_a_path_is_read_by_its_provider_as_it_was_judged_here():
    """Line ends, question marks and escapes within a path stay what they are: part of it."""
    assert quoted_path("/v1/a b\r\nX: y?z#%41/ü") == "/v1/a%20b%0D%0AX:%20y%3Fz%23%2541/%C3%BC"
    assert quoted_path("/v1beta/models/m:generateContent") == "/v1beta/models/m:generateContent"
    assert quoted_query(b"a=b%20c&d=\xff \r\n") == "a=b%20c&d=%FF%20%0D%0A"


def test_a_header_cannot_be_made_of_two():
    """A line end in a field is refused before anything is sent."""

    async def work():
        server = Server([OK])
        async with serving(server) as url:
            assert await called(url, target="/x\r\nhost: y") == "connection"
        assert server.connections == 0

    run(work)
