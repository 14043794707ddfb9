# SPDX-License-Identifier: GPL-3.0-or-later
"""Obtaining time stamps: what is asked, what is kept, and what happens when nobody answers."""

import hashlib
import socket
import time
from contextlib import closing
from datetime import timedelta

import pytest
import rfc3161ng
import stamp_server
from der_writer import integer, seq
from minting import MESSAGE, NONCE, POLICY, authority, honest, reply, root

from anchoring import timestamp
from anchoring.timestamp import Authority, Token, TsaRefused, TsaUnavailable, obtain, request
from ledger import clock
from ledger.errors import Unavailable
from sealtrail.verify.timestamp import check_stamp

#: The optional free text of a status, holding a number instead of text.
UNREADABLE = seq(integer(1))


def stamp(authority, **facts):
    now = clock.now()
    return obtain(authority, MESSAGE, **{"now": now, "not_before": now, "timeout_s": 2, **facts})


def nobody():
    """An address that nobody listens on."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def at(url):
    return Authority(name="mint", url=url, roots=(root().certificate,), policy=POLICY)


def test_a_request_asks_for_everything_that_is_checked_later():
    """SHA-256 of the message, 64 random bits, the certificate, the agreed policy."""
    query = request(MESSAGE, POLICY)
    again = request(MESSAGE, POLICY)

    read = rfc3161ng.decode_timestamp_request(query.der)
    assert bytes(read["messageImprint"]["hashedMessage"]) == hashlib.sha256(MESSAGE).digest()
    assert str(read["messageImprint"]["hashAlgorithm"]["algorithm"]) == "2.16.840.1.101.3.4.2.1"
    assert int(read["nonce"]) == query.nonce
    assert 0 <= query.nonce < 2**64
    assert bool(read["certReq"])
    assert str(read["reqPolicy"]) == POLICY
    assert query.nonce != again.nonce


def test_without_a_policy_none_is_asked_for():
    assert not rfc3161ng.decode_timestamp_request(request(MESSAGE).der)["reqPolicy"].hasValue()


def test_what_went_over_the_wire_is_kept_byte_for_byte():
    sent = []

    def answer(recipe):
        sent.append(reply(recipe))
        return sent[-1]

    with stamp_server.authority(answer) as mint:
        token = stamp(mint)

    assert token.reply == sent[0]
    assert token.stamp.authority == "CN=Mint Stamps"
    nonce = int(rfc3161ng.decode_timestamp_request(token.query)["nonce"])
    kept = check_stamp(token.reply, message=MESSAGE, roots=mint.roots, nonce=nonce, policy=POLICY)
    assert kept == token.stamp


def test_a_certificate_that_does_not_come_along_may_be_configured():
    with stamp_server.authority(lambda recipe: reply(recipe.but(embedded=()))) as mint:
        with pytest.raises(TsaRefused) as caught:
            stamp(mint)
        known = Authority(
            name=mint.name, url=mint.url, roots=mint.roots, extra=(authority().certificate,)
        )
        assert isinstance(stamp(known), Token)

    assert caught.value.reason == timestamp.NOT_CHECKABLE


def test_a_silent_authority_is_unavailable_not_a_liar():
    """ANCHOR_FAILED and a later try; both errors are of the family that is repeated."""
    with pytest.raises(TsaUnavailable, match="mint") as caught:
        stamp(at(nobody()))

    assert isinstance(caught.value, Unavailable)
    assert caught.value.facts == {"authority": "mint"}


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (500, "application/timestamp-reply", reply(honest())),
        (404, "text/html", b"<html>not here</html>"),
        (200, "text/html", b"<html>busy</html>"),
        (204, "application/timestamp-reply", b""),
        (302, "application/timestamp-reply", b""),
        (200, "application/timestamp-reply", bytes(timestamp.REPLY_MAX + 1)),
    ],
)
def test_an_answer_that_is_no_time_stamp_is_unavailable(status, kind, body):
    """A gateway's error page, a redirect, a flood."""
    with (
        stamp_server.http(
            lambda handler, _: stamp_server.send(handler, body, status=status, kind=kind)
        ) as url,
        pytest.raises(TsaUnavailable),
    ):
        stamp(at(url))


def test_an_authority_that_drips_is_given_up():
    """A byte now and then keeps a socket's timeout from firing; the deadline is for all of it."""

    def drip(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/timestamp-reply")
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b"0")
                time.sleep(0.05)
        except OSError:
            pass

    begun = time.monotonic()
    with stamp_server.http(drip) as url, pytest.raises(TsaUnavailable, match="too long"):
        stamp(at(url), timeout_s=0.2)

    assert time.monotonic() - begun < 4  # All of it would take five seconds.


def test_an_authority_that_hangs_up_is_unavailable():
    def hang_up(handler, _):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\n")
        handler.wfile.write(b"Content-Length: 900\r\n\r\n0")

    with stamp_server.http(hang_up) as url, pytest.raises(TsaUnavailable, match="cut off"):
        stamp(at(url))


def test_an_authority_that_speaks_no_http_is_unavailable():
    def babble(handler, _):
        handler.wfile.write(b"220 mail.example ESMTP\r\n")

    with stamp_server.http(babble) as url, pytest.raises(TsaUnavailable):
        stamp(at(url))


def test_a_proxy_in_the_environment_does_not_keep_us_from_our_own_authority(monkeypatch):
    monkeypatch.setenv("http_proxy", nobody())
    monkeypatch.delenv("no_proxy", raising=False)

    with stamp_server.authority() as mint:
        assert stamp(mint).reply


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://tsa.example/", "tsa.example"])
def test_an_authority_is_reached_over_http_only(url):
    with pytest.raises(ValueError, match="http"):
        at(url)


def test_an_authority_without_a_root_is_no_authority():
    with pytest.raises(ValueError, match="root"):
        Authority(name="mint", url="https://tsa.example/", roots=())


def test_a_message_names_the_authority_and_not_its_address():
    """Addresses may hold a customer's secret; errors go to logs and entries."""
    with pytest.raises(TsaUnavailable) as caught:
        stamp(at(nobody() + "secret-customer-path"))

    assert "secret" not in str(caught.value)


def test_a_clock_that_is_a_little_behind_is_believed():
    with stamp_server.authority(
        lambda recipe: reply(recipe.but(gen_time=recipe.gen_time - timedelta(seconds=30)))
    ) as mint:
        assert stamp(mint).reply


def test_a_second_reader_finds_the_same():
    """Status, digest and nonce, each wrong once."""
    agrees = timestamp._second_reader_agrees

    assert agrees(reply(honest()), MESSAGE, NONCE)
    assert not agrees(reply(honest()), MESSAGE, NONCE + 1)
    assert not agrees(reply(honest()), b"other", NONCE)
    assert not agrees(reply(honest(status=2)), MESSAGE, NONCE)
    assert not agrees(reply(honest(nonce=None)), MESSAGE, NONCE)
    assert not agrees(reply(honest(imprint_digest="sha512")), MESSAGE, NONCE)
    assert not agrees(reply(honest(with_token=False)), MESSAGE, NONCE)
    assert not agrees(b"<html>", MESSAGE, NONCE)


def test_what_one_reader_cannot_read_is_not_believed():
    """Free text that is no text: ours never looks at it, rfc3161ng stumbles."""
    with (
        stamp_server.authority(lambda recipe: reply(recipe.but(failure=UNREADABLE))) as mint,
        pytest.raises(TsaRefused) as caught,
    ):
        stamp(mint)

    assert caught.value.reason == timestamp.DISAGREEMENT
