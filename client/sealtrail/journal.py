# SPDX-License-Identifier: Apache-2.0
r"""What this client was promised, kept where the ledger cannot reach it.

    <root>/<user>/<context>/<started>-<chance>.jsonl     one file for each run of a program, 0600
                            pending/<event_id>           record key of an event without a receipt
                            custody/<event_id>.json      disclosures, under producer custody only

Each line is one receipt, as canonical JSON, and is chained to the line before it:

    line = JCS({..., "n": n, "prev": hash of the line before, "hash": h})
    h    = SHA-256("sealtrail.journal.line.v1\0" ‖ JCS(the line without `hash`))
    prev of the first line is `sha256:` and 64 zeros

A line holds no personal value: no prompt, no disclosure, no record key. It is on the disk before
the receipt is handed to the caller. What the chain shows is that no line was changed or taken out
of the middle; that the last lines were cut off shows only against a copy. Whether the ledger has
kept what it promised is asked by `sealtrail.journal_check`.
"""

import contextlib
import errno
import getpass
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from sealtrail.forked import renewed_when_forked
from sealtrail.receipt import Receipt
from sealtrail.request import now_text
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import encode_base64url
from sealtrail.verify.errors import Unreadable, VerifyError

#: Where journals lie unless the program says otherwise.
ROOT: Final = Path("~/.sealtrail/sessions")
FIRST: Final = "sha256:" + "0" * 64

#: No true line is longer, in bytes: a proof has at most 64 hashes.
LINE_MAX: Final = 64 * 1024

_DOMAIN: Final = b"sealtrail.journal.line.v1\0"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TEXTS: Final = ("at", "checkpoint", "event_id", "hash", "leaf", "origin", "prev", "proof", "type")


class JournalBroken(Unreadable):
    """A journal's lines do not follow from each other: somebody changed or removed one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One receipt as the journal keeps it. `usage` is what its outcome said was used, if any."""

    n: int
    event_id: str
    type: str
    origin: str
    position: int
    leaf: bytes
    checkpoint: bytes  #: The signed note.
    proof: bytes  #: The tlog-proof.
    at: str
    usage: Mapping[str, Any]


class Journal:
    """The journal of one run of a program; made on the first line. Safe for several threads.

    context: what the program is, such as `image-service`; never a person. durable: whether each
    line is on the disk, and not only with the operating system, before `keep` returns.
    """

    def __init__(
        self,
        *,
        root: str | os.PathLike[str] | None = None,
        user: str | None = None,
        context: str = "default",
        durable: bool = True,
    ) -> None:
        """Raises ValueError for a user or context that is no plain name."""
        user = _plain_user() if user is None else user
        for what, name in (("user", user), ("context", context)):
            if not _NAME.fullmatch(name):
                raise ValueError(f"the journal's {what} is up to 64 of A-Z a-z 0-9 . _ -")
        self.directory = _home(Path(root or ROOT)) / user / context
        self._durable = durable
        self._file: int | None = None
        self._next, self._last = 0, FIRST
        self.renew()
        renewed_when_forked(self)

    def renew(self) -> None:
        """Go on in another file: this process was forked, and the old file is its parent's."""
        self._lock = threading.Lock()
        self._end_file()
        self.path: Path | None = None  #: The file of this run, once there is one.

    def pending(self, event_id: str, record_key: bytes) -> None:
        """Keep the key of an event that is about to be sent; `keep` or `drop` removes it.

        With it, and the same content, the event can be sent again after a crash.
        """
        path = self._pending(event_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, encode_base64url(record_key).encode())
        finally:
            os.close(handle)

    def drop(self, event_id: str) -> None:
        """Forget the key of an event: the ledger refused it, or its receipt is kept."""
        self._pending(event_id).unlink(missing_ok=True)

    def keep_disclosures(self, event_id: str, disclosures: Mapping[str, str]) -> None:
        """Keep what opens an event's commitments, where nobody else has it (producer custody).

        Durable when this returns. To forget a person is to delete these files, and their backups.
        """
        path = self.directory / "custody" / f"{event_id}.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(canonical.encode(dict(disclosures)))
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(path.parent)

    def keep(self, receipt: Receipt, *, usage: Mapping[str, Any] | None = None) -> None:
        """Append a receipt, then forget the event's key. Raises OSError when it cannot."""
        members: dict[str, Any] = {
            "at": now_text(),
            "checkpoint": receipt.checkpoint,
            "event_id": receipt.event_id,
            "leaf": f"sha256:{receipt.leaf.hex()}",
            "origin": receipt.origin,
            "position": receipt.position,
            "proof": receipt.proof,
            "type": receipt.type,
        }
        if usage:
            members["usage"] = dict(usage)
        with self._lock:
            members |= {"n": self._next, "prev": self._last}
            members["hash"] = line_hash(members)
            try:
                self._append(canonical.encode(members) + b"\n")
                self._next, self._last = self._next + 1, members["hash"]
            except BaseException:  # A full disk, or an interrupt: this line is its file's last.
                self._end_file()
                raise
        self.drop(receipt.event_id)

    def close(self) -> None:
        """Close the file; the next line would open a new one."""
        with self._lock:
            self._end_file()

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            path = self.directory / f"{started}-{os.urandom(4).hex()}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            self.path = path
            if self._durable:
                _sync_directory(self.directory)
        if os.write(self._file, line) != len(line):
            raise OSError(errno.ENOSPC, "the journal's disk is full")
        if self._durable:
            os.fsync(self._file)

    def _end_file(self) -> None:
        open_, self._file = self._file, None
        self._next, self._last = 0, FIRST
        if open_ is not None:
            os.close(open_)

    def _pending(self, event_id: str) -> Path:
        return self.directory / "pending" / event_id


def line_hash(members: Mapping[str, Any]) -> str:
    """Return the hash of a line from its other members."""
    rest = {name: value for name, value in members.items() if name != "hash"}
    return "sha256:" + sha256(_DOMAIN + canonical.encode(rest)).hexdigest()


def files(directory: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return all journals below a directory, in order of their names; or the one that it is.

    Raises FileNotFoundError for what is not there, but for the default.
    """
    root = folder(directory)
    if root.is_file():
        return [root]
    return sorted(path for path in root.rglob("*.jsonl") if not path.is_dir())


def unanswered(directory: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the ids of events that were sent and have no receipt: a crash, or a lost answer."""
    return sorted(path.name for path in folder(directory).rglob("pending/*") if path.is_file())


def folder(directory: str | os.PathLike[str] | None = None) -> Path:
    """Return where journals lie. Raises FileNotFoundError for a folder that is not there."""
    if directory is None:
        return _home(Path(ROOT))
    found = _home(Path(directory))
    if not found.exists():
        raise FileNotFoundError(f"there is no {found}")
    return found


def _home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(
            "this account has no home directory for the journal: set HOME, or say where it lies"
        ) from None


def read(path: Path) -> Iterator[Line]:
    """Yield a journal's lines, each checked against the one before. Raises JournalBroken.

    A last line that ends in the middle is what a crash leaves, and is passed over: its receipt
    was handed to nobody.
    """
    last, expected = FIRST, 0
    with path.open("rb") as file:
        while data := file.readline(LINE_MAX + 1):
            if not data.endswith(b"\n"):
                if len(data) > LINE_MAX or file.read(1):
                    raise JournalBroken(f"line {expected + 1} of a journal is too long")
                return
            line, last = _read_line(data[:-1], expected, last)
            expected += 1
            yield line


def _read_line(data: bytes, number: int, last: str) -> tuple[Line, str]:
    where = f"line {number + 1} of a journal"
    try:
        members = canonical.decode(data)
    except VerifyError as problem:
        raise JournalBroken(f"{where} is not canonical JSON") from problem
    if not isinstance(members, dict) or not all(isinstance(members.get(n), str) for n in _TEXTS):
        raise JournalBroken(f"{where} lacks a member")
    if members["hash"] != line_hash(members):
        raise JournalBroken(f"{where} was changed: its hash is not that of its members")
    if members["prev"] != last or members.get("n") != number:
        raise JournalBroken(f"{where} does not follow the line before it")
    position, usage = members.get("position"), members.get("usage", {})
    leaf = members["leaf"].removeprefix("sha256:")
    if type(position) is not int or not isinstance(usage, dict) or len(leaf) != 64:
        raise JournalBroken(f"{where} has a member of another form")
    line = Line(
        n=number,
        event_id=members["event_id"],
        type=members["type"],
        origin=members["origin"],
        position=position,
        leaf=_digits(leaf, where),
        checkpoint=members["checkpoint"].encode(),
        proof=members["proof"].encode(),
        at=members["at"],
        usage=usage,
    )
    return line, members["hash"]


def _digits(text: str, where: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise JournalBroken(f"{where} has a member of another form") from None


def _plain_user() -> str:
    """Return the account's name, or its number where there is no plain name."""
    with contextlib.suppress(KeyError, OSError):
        name = getpass.getuser()
        if _NAME.fullmatch(name):
            return name
    return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "user"


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
