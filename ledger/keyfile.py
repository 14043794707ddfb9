# SPDX-License-Identifier: GPL-3.0-or-later
"""How a file of the keystore is opened: only if nobody but its owner can reach it.

Each file is canonical JSON of at most 4 KiB with mode 0600, in a directory of mode 0700.
Whether a file was altered is seen by its cipher text (`ledger/keystore.py`), not here.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger import clock
from ledger.keys import KeystoreDamaged, KeystoreLocked, KeystoreUnreachable, KeystoreUnsafe
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError

#: scrypt: 32 MiB and about a tenth of a second for each guess at the passphrase.
_N: Final = 2**15
_R: Final = 8
_P: Final = 1
_N_MAX: Final = 2**20  #: 1 GiB; more is not a parameter but an attack on our memory.

_FILE_MAX: Final = 4096


def new_parameters() -> dict[str, canonical.JSON]:
    """Return what `derive` needs beside the passphrase, with a fresh salt."""
    salt = clock.random_bytes(32).hex()
    return {"v": 1, "kdf": "scrypt", "n": _N, "r": _R, "p": _P, "salt": salt}


def read_passphrase(path: Path) -> bytes:
    """Return the passphrase in a file that only its owner may read; one final newline is cut off.

    Raises KeystoreUnsafe if others may read it, KeystoreUnreachable if we cannot, KeystoreLocked
    if it is empty. The link itself may be a symbolic one: container platforms mount secrets so.
    """
    with reaching("The passphrase file cannot be read."):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
                raise KeystoreUnsafe("The passphrase file must be a file with mode 0600 or 0400.")
            data = os.read(descriptor, _FILE_MAX + 1)
        finally:
            os.close(descriptor)
    passphrase = data.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase:
        raise KeystoreLocked("The passphrase file is empty.")
    if len(data) > _FILE_MAX:
        raise KeystoreLocked(f"The passphrase file is longer than {_FILE_MAX} bytes.")
    return passphrase


def derive(passphrase: bytes, parameters: Mapping[str, canonical.JSON]) -> tuple[bytes, bytes]:
    """Return the key-encryption key and the check value: 32 bytes each, unrelated to each other."""
    n, r, p = parameters["n"], parameters["r"], parameters["p"]
    known = parameters["v"] == 1 and parameters["kdf"] == "scrypt" and (r, p) == (_R, _P)
    if not known or not isinstance(n, int) or not _N <= n <= _N_MAX or n.bit_count() != 1:
        raise KeystoreDamaged("keystore.json asks for another derivation than this version makes.")
    derived = hashlib.scrypt(
        passphrase,
        salt=unhex(parameters["salt"]),
        n=n,
        r=_R,
        p=_P,
        maxmem=256 * n * _R,
        dklen=64,
    )
    return derived[:32], derived[32:]


def unhex(value: canonical.JSON) -> bytes:
    """Read lower-case hexadecimal and nothing else; KeystoreDamaged otherwise."""
    if isinstance(value, str) and re.fullmatch(r"([0-9a-f]{2})+", value):
        return bytes.fromhex(value)
    raise KeystoreDamaged


def read_file(path: Path) -> dict[str, canonical.JSON]:
    """Read one file of the keystore, after looking at who else can."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        if path.is_symlink():
            raise KeystoreUnsafe("A file of the keystore is a symbolic link.") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise KeystoreUnsafe("Every file of the keystore must have mode 0600.")
        data = os.read(descriptor, _FILE_MAX + 1)
    finally:
        os.close(descriptor)
    try:
        content = canonical.decode(data)
    except VerifyError:
        content = None
    if not isinstance(content, dict):
        raise KeystoreDamaged
    return content


def check_directory(directory: Path) -> None:
    with reaching():
        status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
        raise KeystoreUnsafe("The keystore must be a directory with mode 0700, and no link to one.")
    if status.st_uid != os.geteuid():
        raise KeystoreUnsafe("The keystore belongs to another user of this machine.")


@contextmanager
def reaching(message: str = "") -> Iterator[None]:
    """Turn an OSError into KeystoreUnreachable. The reason is kept, the path is not shown."""
    try:
        yield
    except OSError as error:
        raise KeystoreUnreachable(message, reason=error.strerror or "") from error
