# SPDX-License-Identifier: GPL-3.0-or-later
"""A time-stamping authority on this machine. NOT FOR PRODUCTION: it proves nothing to a stranger.

Whoever can read its directory can stamp any time on anything, so it serves development and tests
only. Certificates, answers and files say so in their names. It is real otherwise: OpenSSL signs,
and replies pass the same checks as those of a bought authority.

    <directory>/NOT-FOR-PRODUCTION.txt
    <directory>/root.pem                what a reader pins
    <directory>/tsa.pem, tsa.key        certificate and key that sign (ECDSA P-256)
    <directory>/ts.cnf, serial          OpenSSL's configuration and the next serial number

The root's own key is destroyed as soon as it has signed the one certificate.

Source: RFC 3161 §2.3 and §3.4; openssl-ts(1).
"""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from anchoring.timestamp import Authority
from ledger import clock
from ledger.errors import Unavailable
from sealtrail.verify.timestamp import certificates_from_pem

#: Marks every certificate of a local authority.
ORGANIZATION: Final = "NOT FOR PRODUCTION - Sealtrail local time stamps"

#: From the number that RFC 5612 reserves for documentation.
POLICY: Final = "1.3.6.1.4.1.32473.3161.1"

_DAYS: Final = "3650"
_QUERY_MAX: Final = 64 * 1024
_TIMEOUT_S: Final = 30
_POLL_S: Final = 0.1  # how long `stop` may take to be noticed

_CERTIFICATES: Final = f"""\
[req]
distinguished_name = name
prompt = no
[name]
O = {ORGANIZATION}
CN = Local Root
[root]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
_STAMPS: Final = f"""\
[tsa]
default_tsa = local
[local]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
digests = sha256, sha384, sha512
default_policy = {POLICY}
accuracy = secs:1
clock_precision_digits = 3
ordering = no
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
_WARNING: Final = """\
NOT FOR PRODUCTION.

This directory is a time-stamping authority for development and tests. Whoever can read it can
stamp any time on anything. Pin its root only in a ledger that proves nothing to anybody.
"""


class LocalAuthorityFailed(Unavailable):
    """The local time-stamping authority could not be made or could not answer."""

    problem = "local-authority-failed"


def make_authority(directory: Path) -> Path:
    """Make an authority in `directory` unless one is there; returns the path of its root.

    All or nothing: a crash leaves no half-made authority. Needs the program `openssl` only.
    Raises LocalAuthorityFailed.
    """
    root = directory / "root.pem"
    if root.exists():
        return root
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as made:
        new = Path(made) / "authority"
        new.mkdir(mode=0o700)
        _make_certificates(new)
        (new / "ts.cnf").write_text(_STAMPS, "ascii")
        (new / "serial").write_text("01\n", "ascii")
        (new / "NOT-FOR-PRODUCTION.txt").write_text(_WARNING, "ascii")
        for path in new.iterdir():
            path.chmod(0o600)
        try:
            new.rename(directory)
        except OSError:
            # Somebody else was faster, or something else is there.
            if not root.exists():
                raise LocalAuthorityFailed(
                    "The directory of the local time-stamping authority holds other files."
                ) from None
    return root


def _make_certificates(new: Path) -> None:
    (new / "req.cnf").write_text(_CERTIFICATES, "ascii")
    for key in ("root.key", "tsa.key"):
        curve = ["-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:named_curve"]
        _openssl(new, "genpkey", "-algorithm", "EC", *curve, "-out", key)
    common = ["-config", "req.cnf", "-sha256"]
    _openssl(
        new,
        *("req", "-x509", "-new", "-key", "root.key", *common, "-extensions", "root"),
        *("-days", _DAYS, "-set_serial", _serial(), "-out", "root.pem"),
    )
    subject = f"/O={ORGANIZATION}/CN=Local Time Stamps"
    _openssl(
        new,
        *("req", "-new", "-key", "tsa.key", *common, "-subj", subject, "-out", "tsa.csr"),
    )
    _openssl(
        new,
        *("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-sha256"),
        *("-days", _DAYS, "-set_serial", _serial(), "-extfile", "req.cnf", "-extensions", "tsa"),
        *("-out", "tsa.pem"),
    )
    for name in ("root.key", "tsa.csr", "req.cnf"):
        (new / name).unlink()


def _serial() -> str:
    return "0x01" + clock.random_bytes(15).hex()


def _openssl(directory: Path, *arguments: str) -> None:
    """Run `openssl` in the authority's directory, without the machine's own configuration."""
    program = shutil.which("openssl")
    if program is None:
        raise LocalAuthorityFailed("The local time-stamping authority needs the program `openssl`.")
    try:
        done = subprocess.run(
            [program, *arguments],
            cwd=directory,
            env={**os.environ, "OPENSSL_CONF": os.devnull, "RANDFILE": os.devnull},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        raise LocalAuthorityFailed("The program `openssl` could not be run.") from None
    if done.returncode != 0:
        raise LocalAuthorityFailed(f"`openssl {arguments[0]}` failed.")


class LocalAuthority:
    """Answers time-stamp queries over HTTP on the loopback address. NOT FOR PRODUCTION.

    directory: one that `make_authority` made. port: 0 takes a free one; `url` has it.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        self._directory = directory
        self._root_pem = (directory / "root.pem").read_text("ascii")
        # OpenSSL reads and rewrites the file of serial numbers: one answer at a time.
        self._turn = threading.Lock()
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address to post queries to, once started."""
        assert self._server is not None, "the local authority was not started"  # noqa: S101
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    @property
    def root_pem(self) -> str:
        return self._root_pem

    def authority(self) -> Authority:
        """This authority as `anchoring.timestamp.obtain` wants it."""
        return Authority(
            name="local, NOT FOR PRODUCTION",
            url=self.url,
            roots=tuple(certificates_from_pem(self._root_pem)),
            policy=POLICY,
        )

    def start(self) -> None:
        """Begin to answer, in a thread of this process."""
        assert self._server is None, "the local authority was started twice"  # noqa: S101
        self._server = _Server(("127.0.0.1", self._port), self.answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": _POLL_S},
            name="local-authority",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish the answers under way and close the port. Stopping twice is harmless."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def answer(self, query: bytes) -> bytes:
        """The reply (TimeStampResp in DER) to one query. Raises LocalAuthorityFailed."""
        with (
            self._turn,
            tempfile.TemporaryDirectory(dir=self._directory, prefix=".answer-") as private,
        ):
            folder = Path(private)
            (folder / "query").write_bytes(query)
            _openssl(
                self._directory,
                *("ts", "-reply", "-config", "ts.cnf", "-queryfile", str(folder / "query")),
                *("-out", str(folder / "reply")),
            )
            return (folder / "reply").read_bytes()


class _Server(ThreadingHTTPServer):
    """A server that waits for the answers under way when it is closed."""

    daemon_threads = False

    def __init__(self, address: tuple[str, int], answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    """One query per connection: POST, `application/timestamp-query`, at most 64 KiB."""

    server_version = "LocalAuthority NOT-FOR-PRODUCTION"
    sys_version = ""
    timeout = 10

    server: _Server

    def do_POST(self) -> None:
        if self.headers.get_content_type() != "application/timestamp-query":
            self.send_error(415)
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or not 0 < int(length) <= _QUERY_MAX:
            self.send_error(413)
            return
        query = self.rfile.read(int(length))
        try:
            reply = self.server.answer(query)
        except LocalAuthorityFailed:
            self.send_error(500)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is http.server's
        """Say nothing: the caller logs what it obtained."""
