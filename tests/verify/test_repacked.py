# SPDX-License-Identifier: GPL-3.0-or-later
"""A packet that another program packed again: judged by its files, and never verified."""

import io
import stat
import zipfile

import pytest
from good_packet import PACKET, check

from sealtrail.verify.repacked import read_repacked
from sealtrail.verify.zip import ArchiveRefused, read_zip

WHOLE = read_zip(PACKET).files


def packed(files, method=zipfile.ZIP_DEFLATED, **more):
    """What a common program makes of these files: dated today, compressed, folders listed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, content in more.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_unchanged_packet_that_was_packed_again_is_incomplete(method):
    """Nothing inside is wrong; the container is not the one that was handed out."""
    report = check(packed(WHOLE, method))

    assert report.verdict == "incomplete"
    assert [f.check for f in report.findings if f.verdict == "incomplete"] == ["archive"]


def test_a_changed_file_refutes_in_any_wrapping():
    """The manifest says which file it was."""
    name = next(n for n in WHOLE if n.endswith("7-GEN.entry.json"))
    changed = dict(WHOLE) | {name: WHOLE[name].replace(b"GEN", b"GEM", 1)}

    report = check(packed(changed))

    assert report.verdict == "refuted"


def test_a_broken_checksum_refutes():
    """A byte changed inside the packed archive, as a bad disk would."""
    data = bytearray(packed(WHOLE, zipfile.ZIP_STORED))
    name = next(n for n in WHOLE if n.endswith("7-GEN.entry.json"))
    data[bytes(data).index(WHOLE[name]) + 5] ^= 1

    assert check(bytes(data)).verdict == "refuted"


def _with(flag=0, method=0, mode=0o100644):
    info = zipfile.ZipInfo("packet-1/a")
    info.external_attr = mode << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, b"content")
    data = bytearray(out.getvalue())
    directory = bytes(data).index(b"PK\x01\x02")
    for at, value in ((6, flag), (8, method), (directory + 8, flag), (directory + 10, method)):
        data[at] = value
    return bytes(data)


def _twice():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("packet-1/a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("packet-1/a", b"2")
    return out.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: _with(flag=1), id="encrypted"),
        pytest.param(lambda: _with(method=12), id="an uncommon compression"),
        pytest.param(lambda: _with(mode=stat.S_IFLNK | 0o777), id="a link"),
        pytest.param(_twice, id="one name twice"),
        pytest.param(lambda: packed({"packet-1/../../etc/passwd": b""}), id="a way out"),
        pytest.param(lambda: packed({"/etc/passwd": b""}), id="an absolute name"),
        pytest.param(lambda: b"#!/bin/sh\n" + packed(WHOLE), id="something before"),
        pytest.param(lambda: packed(WHOLE) + b"\0", id="something after"),
        pytest.param(lambda: b"", id="nothing"),
        pytest.param(lambda: b"PK\x03\x04" + bytes(100), id="no archive"),
    ],
)
def test_tricks_are_refused(make):
    """What could make two readers see two packets is not taken apart."""
    with pytest.raises(ArchiveRefused):
        read_repacked(make())


def test_a_bomb_is_refused_before_it_goes_off():
    """A gigabyte of zeros in a megabyte is refused by what its header promises."""
    data = packed({f"packet-1/{n}": bytes(64 * 1024 * 1024) for n in range(5)})

    with pytest.raises(ArchiveRefused):
        read_repacked(data)
