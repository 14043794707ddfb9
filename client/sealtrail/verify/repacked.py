# SPDX-License-Identifier: Apache-2.0
"""A packet that another program packed again: its files are judged, its container is not believed.

Somebody unpacked a packet and packed it, or a mail gateway did. The files may all be there, and
what is wrong with them should be said: a foreign signature refutes a packet in any wrapping. But
two readers may see two sets of files in such an archive, so it is never `verified`; the original,
byte for byte, can be.

Taken are archives of stored or deflated files with plain names, nothing before the first file and
no comment; refused are encryption, links, names given twice, and more content than a packet may
have. Source: PKWARE APPNOTE 6.3; Python's `zipfile`, which compares both headers of each file.
"""

import io
import stat
import zipfile
import zlib
from typing import Final

from sealtrail.verify.zip import MAX_ARCHIVE, MAX_FILES, Archive, ArchiveRefused, check_names

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 1
_END_MARK, _END_BYTES = b"PK\x05\x06", 22
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)


def read_repacked(data: bytes) -> Archive:
    """The files of an archive in whatever form. Raises ArchiveRefused if it plays tricks."""
    if len(data) > MAX_ARCHIVE:
        raise ArchiveRefused(f"The archive is larger than {MAX_ARCHIVE} bytes.")
    if data[-_END_BYTES:].find(_END_MARK) != 0:
        raise ArchiveRefused("The archive is cut short, or has something after its end.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive)
    except _BROKEN:
        raise ArchiveRefused("The archive cannot be taken apart.") from None


def _read(archive: zipfile.ZipFile) -> Archive:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(archive.infolist()) > MAX_FILES:
        raise ArchiveRefused(f"An archive may not hold more than {MAX_FILES} files.")
    if archive.comment or min((m.header_offset for m in archive.infolist()), default=1):
        raise ArchiveRefused("The archive has something before its files, or a comment.")
    if sum(member.file_size for member in members) > MAX_ARCHIVE:
        raise ArchiveRefused("The archive holds more than a packet may.")
    check_names(sorted(member.filename for member in members))
    files: dict[str, bytes] = {}
    damaged = []
    for member in sorted(members, key=lambda one: one.filename):
        _check_member(member)
        try:
            files[member.filename] = _content(archive, member)
        except zipfile.BadZipFile:
            files[member.filename] = b""
            damaged.append(member.filename)
    return Archive(files=files, damaged=tuple(damaged))


def _check_member(member: zipfile.ZipInfo) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise ArchiveRefused("A file in the archive is encrypted.")
    if member.compress_type not in _METHODS:
        raise ArchiveRefused("A file in the archive is compressed in an uncommon way.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ArchiveRefused("A file in the archive is a link.")


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """What the file holds; never more than its header promises."""
    with archive.open(member) as file:
        content = file.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise ArchiveRefused("A file in the archive is longer or shorter than it says.")
    return content
