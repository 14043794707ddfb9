# SPDX-License-Identifier: Apache-2.0
"""The lists in a packet that name each file with its digest, so that none is lost or added.

A packet is a BagIt bag: `data/` holds the evidence, listed in `manifest-sha256.txt`; everything
else is listed in `tagmanifest-sha256.txt`, which alone is listed nowhere. Both can be checked
without any program of ours: `sha256sum -c manifest-sha256.txt`.

    <64 lowercase hex digits>  <path>          one line per file, sorted by path

The lists are signed by nobody: they tell damage from wholeness, not truth from forgery.
Source: RFC 8493.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from sealtrail.verify.errors import Refuted

BAGIT: Final = "bagit.txt"
INFO: Final = "bag-info.txt"
MANIFEST: Final = "manifest-sha256.txt"
TAG_MANIFEST: Final = "tagmanifest-sha256.txt"
PAYLOAD: Final = "data/"

_DECLARATION: Final = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_LINE: Final = re.compile(rb"([0-9a-f]{64})  ([!-~]+)")


class ManifestBroken(Refuted):
    """A file is missing, was added, or is not the file that the packet's list names."""


def seal(files: Mapping[str, bytes], info: Mapping[str, str]) -> dict[str, bytes]:
    """`files`, and the four files that make them a bag.

    info: labels and values of bag-info.txt, each one line of text; Payload-Oxum is added.
    """
    payload = [content for name, content in files.items() if name.startswith(PAYLOAD)]
    oxum = f"{sum(map(len, payload))}.{len(payload)}"
    labels = {**info, "Payload-Oxum": oxum}
    text = "".join(f"{label}: {' '.join(value.split())}\n" for label, value in labels.items())
    bag = {**files, BAGIT: _DECLARATION, INFO: text.encode()}
    bag[MANIFEST] = _manifest({n: c for n, c in bag.items() if n.startswith(PAYLOAD)})
    bag[TAG_MANIFEST] = _manifest({n: c for n, c in bag.items() if not n.startswith(PAYLOAD)})
    return bag


def check_bag(files: Mapping[str, bytes]) -> None:
    """Return if each file is listed exactly once, with its digest; else raise ManifestBroken."""
    if files.get(BAGIT) != _DECLARATION:
        raise ManifestBroken("bagit.txt does not declare a bag of version 1.0 in UTF-8.")
    payload = {name: c for name, c in files.items() if name.startswith(PAYLOAD)}
    others = {
        name: c
        for name, c in files.items()
        if not name.startswith(PAYLOAD) and name != TAG_MANIFEST
    }
    for name, listed in ((MANIFEST, payload), (TAG_MANIFEST, others)):
        if name not in files:
            raise ManifestBroken(f"{name} is missing.")
        if files[name] != _manifest(listed):
            raise ManifestBroken(_difference(name, files[name], listed))


def _manifest(files: Mapping[str, bytes]) -> bytes:
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return "".join(lines).encode("ascii")


def _difference(name: str, manifest: bytes, files: Mapping[str, bytes]) -> str:
    """What a reader should look at first. File names were checked to be plain by the archive."""
    listed: dict[str, str] = {}
    for line in manifest.split(b"\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            return f"{name} holds a line that names no file and digest."
        listed[match[2].decode("ascii")] = match[1].decode("ascii")
    for path in sorted(set(files) | set(listed)):
        if path not in listed:
            return f"{path} is not listed in {name}."
        if path not in files:
            return f"{name} lists a file that is not in the packet."
        if hashlib.sha256(files[path]).hexdigest() != listed[path]:
            return f"{path} is not the file that {name} lists."
    return f"{name} lists the right files, but not in its one form."
