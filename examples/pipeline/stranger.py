# SPDX-License-Identifier: Apache-2.0
"""What the demonstration does around a packet, with the standard library only.

- `select RUN.JSON DIR`: the exported image's events and disclosures, for `packet build`
- `stamp PACKET TRUST DIR`: a stamped checkpoint, its token and the pinned roots, for openssl
- `flip PACKET OUT`: the same packet with one byte of an entry changed
"""

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path


def select(run: Path, out: Path) -> None:
    """Write DIR/events, one `--event ID` a line, and DIR/disclosures.json."""
    journal = json.loads(run.read_text("utf-8"))
    events = journal["exported"]["event_ids"]
    (out / "events").write_text("".join(f"--event {one}\n" for one in events), "utf-8")
    shown = {one: journal["disclosures"][one] for one in events if one in journal["disclosures"]}
    (out / "disclosures.json").write_text(json.dumps(shown), "utf-8")


def stamp(packet: Path, trust: Path, out: Path) -> None:
    """Write DIR/checkpoint, DIR/token.tsr and DIR/roots.pem."""
    out.mkdir(exist_ok=True)
    with zipfile.ZipFile(packet) as archive:
        token = next(name for name in archive.namelist() if name.endswith(".tsr"))
        (out / "token.tsr").write_bytes(archive.read(token))
        checkpoint = token.rpartition("/")[0] + "/checkpoint"
        (out / "checkpoint").write_bytes(archive.read(checkpoint))
    roots = json.loads(trust.read_text("utf-8"))["tsa_roots"]
    (out / "roots.pem").write_text("".join(roots), "ascii")


def flip(packet: Path, out: Path) -> None:
    """Change one character inside the first entry; the file stays a zip of the same shape."""
    data = bytearray(packet.read_bytes())
    with zipfile.ZipFile(packet) as archive:
        entry = next(name for name in archive.namelist() if name.endswith(".entry.json"))
        content = archive.read(entry)
    at = bytes(data).index(content) + len(content) // 2
    data[at] ^= 1
    out.write_bytes(data)


def main(arguments: list[str]) -> int:
    commands: dict[str, Callable[..., None]] = {"select": select, "stamp": stamp, "flip": flip}
    commands[arguments[0]](*map(Path, arguments[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
