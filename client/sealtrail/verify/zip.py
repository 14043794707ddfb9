# SPDX-License-Identifier: Apache-2.0
"""The archive a packet travels in: one set of files has exactly one archive, byte for byte.

    local header, content        for each file, sorted by name, nothing between
    directory header             for each file, in the same order
    end record                   22 bytes, no comment

Stored without compression, dated 1980-01-01, mode 0644, plain ASCII names, no folders, no ZIP64.
The reader takes the names, checksums and contents out of the local headers, prints an archive
from them and compares: what is encrypted, compressed, linked, hidden or twice never comes out
equal. Source: PKWARE APPNOTE 6.3 §4.3 and §4.4.
"""

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from sealtrail.verify.errors import Unreadable

MAX_ARCHIVE: Final = 256 * 1024 * 1024
MAX_FILES: Final = 50_000
MAX_NAME: Final = 255

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_DIRECTORY: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_LOCAL_MARK, _DIRECTORY_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"

_VERSION: Final = 20
_MADE_ON_UNIX: Final = 3 << 8
_MODE: Final = 0o100644 << 16
_MIDNIGHT: Final = 0
_1980_01_01: Final = 1 << 5 | 1
_ENCRYPTED: Final = 1

#: Letters that mean the same file to every system; a segment never begins with a dot.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class ArchiveRefused(Unreadable):
    """The archive is not in the one form that its files have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What was in the archive.

    files: contents by name, in the order of the names. damaged: names of files whose content does
    not have the checksum that the archive gives for it.
    """

    files: Mapping[str, bytes]
    damaged: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    name: str
    checksum: int
    content: bytes


def write_zip(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files. Raises ArchiveRefused for names or sizes it cannot hold."""
    members = [
        _Member(name=name, checksum=crc32(files[name]), content=files[name])
        for name in sorted(files)
    ]
    check_names([member.name for member in members])
    data = _print(members)
    if len(data) > MAX_ARCHIVE:
        raise ArchiveRefused(f"An archive may not be larger than {MAX_ARCHIVE} bytes.")
    return data


def read_zip(data: bytes) -> Archive:
    """The files of an archive of at most 256 MiB; takes up to three times its size in memory.

    Raises ArchiveRefused if `data` is anything but what `write_zip` prints, checksums aside.
    """
    if len(data) > MAX_ARCHIVE:
        raise ArchiveRefused(f"The archive is larger than {MAX_ARCHIVE} bytes.")
    members = list(_members(data))
    check_names([member.name for member in members])
    if _print(members) != data:
        raise ArchiveRefused(
            "The archive's bytes are not the one form of its files: something was changed, added"
            " or hidden, or another program packed it."
        )
    return Archive(
        files={member.name: member.content for member in members},
        damaged=tuple(m.name for m in members if crc32(m.content) != m.checksum),
    )


def _members(data: bytes) -> Iterable[_Member]:
    """The files as the local headers give them, up to the first byte that is no such header."""
    position, count = 0, 0
    while data[position : position + 4] == _LOCAL_MARK:
        count += 1
        start = position + _LOCAL.size
        if count > MAX_FILES or start > len(data):
            raise ArchiveRefused("The archive is cut short, or holds too many files.")
        header = _LOCAL.unpack_from(data, position)
        flags, method, checksum, size, name_length = (header[n] for n in (2, 3, 6, 7, 9))
        if flags & _ENCRYPTED:
            raise ArchiveRefused("A file in the archive is encrypted.")
        if method:
            raise ArchiveRefused("A file in the archive is compressed.")
        content = start + name_length
        position = content + size
        if position > len(data):
            raise ArchiveRefused("The archive is cut short.")
        try:
            name = data[start:content].decode("ascii")
        except UnicodeDecodeError:
            raise ArchiveRefused("A name in the archive is not ASCII.") from None
        yield _Member(name=name, checksum=checksum, content=data[content:position])
    if not count:
        raise ArchiveRefused("This is not an archive, or one with something before its files.")


def check_names(names: list[str]) -> None:
    """Raise unless each name is plain, relative, and means one file on every system."""
    if len(names) > MAX_FILES:
        raise ArchiveRefused(f"An archive may not hold more than {MAX_FILES} files.")
    folded = {name.lower() for name in names}
    if len(folded) != len(names):
        raise ArchiveRefused("Two files in the archive have one name.")
    for name in names:
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise ArchiveRefused("A name in the archive is not a plain relative path.")
        parts = name.lower().split("/")
        if any("/".join(parts[:depth]) in folded for depth in range(1, len(parts))):
            raise ArchiveRefused("A name in the archive is both a file and a folder.")
    if names != sorted(names):
        raise ArchiveRefused("The files in the archive are not in the order of their names.")


def _print(members: Iterable[_Member]) -> bytes:
    local, directory = bytearray(), bytearray()
    count = 0
    for member in members:
        name, size = member.name.encode("ascii"), len(member.content)
        shared = (_VERSION, 0, 0, _MIDNIGHT, _1980_01_01, member.checksum, size, size, len(name), 0)
        directory += _DIRECTORY.pack(
            _DIRECTORY_MARK, _MADE_ON_UNIX | _VERSION, *shared, 0, 0, 0, _MODE, len(local)
        )
        directory += name
        local += _LOCAL.pack(_LOCAL_MARK, *shared)
        local += name
        local += member.content
        count += 1
    end = _END.pack(_END_MARK, 0, 0, count, count, len(directory), len(local), 0)
    return bytes(local + directory + end)
