# SPDX-License-Identifier: GPL-3.0-or-later
"""The local authority: real stamps from OpenSSL, and NOT FOR PRODUCTION on everything it makes."""

import os
import stat
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from anchoring.authority import (
    ORGANIZATION,
    POLICY,
    LocalAuthority,
    LocalAuthorityFailed,
    make_authority,
)
from anchoring.timestamp import obtain, request
from ledger import clock
from sealtrail.verify.timestamp import StampRefused, certificates_from_pem, check_stamp
from sealtrail.verify.x509 import Certificate

MESSAGE = b"localhost/dev\n1\nqqqq\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    made = tmp_path_factory.mktemp("local") / "tsa"
    make_authority(made)
    return made


@pytest.fixture(scope="module")
def local(directory):
    with LocalAuthority(directory) as authority:
        yield authority


def stamp(local, message=MESSAGE):
    now = clock.now()
    return obtain(local.authority(), message, now=now, not_before=now)


@pytest.mark.parametrize("backend", ["cryptography", "openssl"])
def test_its_stamps_pass_the_same_checks_as_bought_ones(local, backend):
    token = stamp(local)

    roots = certificates_from_pem(local.root_pem)
    again = check_stamp(token.reply, message=MESSAGE, roots=roots, policy=POLICY, backend=backend)
    assert again == token.stamp
    assert again.digest_algorithm == "sha256"


def test_openssl_itself_verifies_its_stamps(local, tmp_path):
    """The line that a court packet gives to a stranger."""
    token = stamp(local)
    (tmp_path / "reply").write_bytes(token.reply)
    (tmp_path / "query").write_bytes(token.query)
    (tmp_path / "root.pem").write_text(local.root_pem)
    line = "openssl ts -verify -in reply -queryfile query -CAfile root.pem"
    at = str(int(token.stamp.gen_time.timestamp()) + 1)

    said = subprocess.run(
        [*line.split(), "-attime", at],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Verification: OK" in said.stdout, said.stderr


def test_everything_it_makes_says_what_it_is_not_for(local, directory):
    token = stamp(local)

    assert "NOT FOR PRODUCTION" in ORGANIZATION
    assert "NOT FOR PRODUCTION" in token.stamp.authority
    assert "NOT FOR PRODUCTION" in local.authority().name
    for certificate in token.stamp.chain:
        assert "NOT FOR PRODUCTION" in Certificate.parse(certificate).name()
    assert "NOT FOR PRODUCTION" in (directory / "NOT-FOR-PRODUCTION.txt").read_text()


def test_its_files_are_its_owners_and_the_roots_key_is_gone(directory):
    """Nobody can issue a second certificate below a root that somebody pinned."""
    names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}

    assert names >= {"root.pem", "tsa.pem", "tsa.key", "ts.cnf", "serial"}
    assert not [name for name in names if "root" in name and name != "root.pem"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "tsa.key").stat().st_mode) == 0o600


def test_making_it_again_keeps_it(directory):
    before = (directory / "root.pem").read_bytes()

    assert make_authority(directory) == directory / "root.pem"
    assert (directory / "root.pem").read_bytes() == before


def test_many_at_once_get_a_number_each(local):
    """OpenSSL rewrites its file of serial numbers; the answers take turns."""
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda n: stamp(local, b"message %d" % n), range(16)))

    assert len({token.stamp.serial for token in tokens}) == 16


def test_it_begins_and_ends_and_begins_again(directory):
    """A restarted authority goes on with its certificate and its serial numbers."""
    with LocalAuthority(directory) as first:
        one = stamp(first)
        url = first.url
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, data=b"", timeout=2)
    with LocalAuthority(directory) as second:
        two = stamp(second)
        second.stop()
        second.stop()

    assert one.stamp.chain == two.stamp.chain
    assert int(one.stamp.serial, 16) < int(two.stamp.serial, 16)


def post(url, body, kind="application/timestamp-query"):
    asked = urllib.request.Request(url, data=body, headers={"Content-Type": kind})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_answers_time_stamp_queries_only(local):
    assert post(local.url, request(MESSAGE).der) == 200
    assert post(local.url, request(MESSAGE).der, kind="text/plain") == 415
    assert post(local.url, b"") == 413
    assert post(local.url, bytes(64 * 1024 + 1)) == 413


def test_it_rejects_what_it_does_not_understand(local):
    """Its own word for it, "rejection", is what the asker is told."""
    rejection = local.answer(b"not a query")

    with pytest.raises(StampRefused, match="rejection") as caught:
        check_stamp(rejection, message=MESSAGE, roots=local.authority().roots)
    assert caught.value.reason == "status"


def test_a_directory_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("keep me")

    with pytest.raises(LocalAuthorityFailed, match="other files"):
        make_authority(tmp_path / "taken")

    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken" / "letter.txt").read_text() == "keep me"


def test_without_openssl_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LocalAuthorityFailed, match="openssl"):
        make_authority(tmp_path / "tsa")

    assert not list(tmp_path.iterdir())


def test_an_openssl_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "openssl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/bin")

    with pytest.raises(LocalAuthorityFailed, match="genpkey"):
        make_authority(tmp_path / "tsa")

    assert not (tmp_path / "tsa").exists()
