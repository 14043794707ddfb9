# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens escrow files: the first chain keys of a Book's origins, with which old MACs are checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger import durable
from ledger.errors import Refused
from ledger.escrow import EscrowFile, open_with_passphrase, open_with_private_key
from ledger.keystore import read_passphrase


@dataclass(frozen=True, slots=True, kw_only=True)
class Opener:
    """What opens an escrow file: a passphrase, or an auditor's private key in hexadecimal."""

    passphrase_file: Path | None
    key_file: Path | None

    def first_keys(self, escrow: Path | None, origins: Sequence[str]) -> dict[str, bytes]:
        """Return the first chain keys in `escrow`, a file or a directory of them, by origin.

        Origins without a file there are left out. Raises Refused, EscrowRefused.
        """
        if escrow is None or (self.passphrase_file is None and self.key_file is None):
            return {}
        try:
            if not escrow.is_dir():
                content = escrow.read_bytes()
                return {(origin := EscrowFile.parse(content).origin): self._open(content, origin)}
            paths = {origin: escrow / f"{durable.safe_name(origin)}.json" for origin in origins}
            return {
                origin: self._open(path.read_bytes(), origin)
                for origin, path in paths.items()
                if path.exists()
            }
        except (OSError, ValueError) as error:
            raise Refused("the escrow file or its key cannot be read") from error

    def _open(self, content: bytes, origin: str) -> bytes:
        if self.key_file is not None:
            secret = bytes.fromhex(self.key_file.read_text("ascii").strip())
            return open_with_private_key(content, origin=origin, private_key=secret)
        if self.passphrase_file is None:
            raise Refused("an escrow file is opened by a passphrase or a private key")
        passphrase = read_passphrase(self.passphrase_file)
        return open_with_passphrase(content, origin=origin, passphrase=passphrase)
