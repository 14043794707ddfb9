# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive: one set of files has one archive, and everything else is refused."""

import io
import random
import stat
import struct
import zipfile
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealtrail.verify import zip as archive
from sealtrail.verify.zip import ArchiveRefused, read_zip, write_zip

FILES = {"p/a.txt": b"first", "p/data/b-1.json": b"{}", "p/data/c": b"", "p/z.bin": bytes(300)}
GOOD = write_zip(FILES)
NAME = st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,8}(/[a-z0-9_][a-z0-9._-]{0,8}){0,3}", fullmatch=True)


def by_zipfile(members, **options):
    """What Python's own module packs, entry by entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as pack:
        for name, content in members:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            info.compress_type = options.get("compression", zipfile.ZIP_STORED)
            pack.writestr(info, content)
    return buffer.getvalue()


def patched(offset, content):
    data = bytearray(GOOD)
    data[offset : offset + len(content)] = content
    return bytes(data)


DIRECTORY = GOOD.index(b"PK\x01\x02")
END = GOOD.index(b"PK\x05\x06")


def test_other_programs_read_what_is_written():
    """Python's zipfile finds the same files, with dates and modes as promised."""
    with zipfile.ZipFile(io.BytesIO(GOOD)) as pack:
        assert pack.testzip() is None
        assert {info.filename: pack.read(info) for info in pack.infolist()} == FILES
        assert {info.date_time for info in pack.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {stat.S_IMODE(info.external_attr >> 16) for info in pack.infolist()} == {0o644}


def test_python_s_own_module_can_pack_the_same_bytes():
    """The form is nothing special: stored, sorted, dated 1980-01-01, mode 0644."""
    assert by_zipfile(sorted(FILES.items())) == GOOD


def test_the_order_of_the_files_given_does_not_matter():
    """Two makers with the same files make the same archive."""
    assert write_zip(dict(reversed(FILES.items()))) == GOOD


@given(st.dictionaries(NAME, st.binary(max_size=50), min_size=1, max_size=8))
def test_what_is_written_is_read(files):
    """Any files with plain names; sets with one name for a file and a folder are refused."""
    clash = any(other.startswith(name + "/") for name in files for other in files)

    if clash:
        with pytest.raises(ArchiveRefused, match="both"):
            write_zip(files)
    else:
        assert dict(read_zip(write_zip(files)).files) == files


def test_no_flipped_bit_goes_unnoticed():
    """Every bit of a small archive: refused, or the file with a wrong checksum is named."""
    for position in range(len(GOOD) * 8):
        damaged = bytearray(GOOD)
        damaged[position // 8] ^= 1 << position % 8
        try:
            read = read_zip(bytes(damaged))
        except ArchiveRefused:
            continue
        assert len(read.damaged) == 1
        assert read.files[read.damaged[0]] != FILES[read.damaged[0]]


def test_no_cut_or_lengthened_archive_is_read():
    """Nothing may be missing, and nothing may stand before, behind or between."""
    for length in range(len(GOOD)):
        with pytest.raises(ArchiveRefused):
            read_zip(GOOD[:length])
    for extra in (b"\0", b"\n", b"PK\x03\x04", GOOD):
        for data in (GOOD + extra, extra + GOOD, GOOD[:END] + extra + GOOD[END:]):
            with pytest.raises(ArchiveRefused):
                read_zip(data)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../a",
        "p/../a",
        "p/./a",
        "p//a",
        "p/",
        "p\\a",
        "C:a",
        "p/a:b",
        ".hidden",
        "p/.hidden",
        "p/a b",
        "p/é",
        "p/a\0b",
        "p/a\nb",
        "p/" + "a" * 254,
        "~/a",
        "-rf",
    ],
)
def test_a_name_that_could_leave_its_folder_or_hide_is_refused(name):
    """Absolute, parent, backslash, drive, hidden, control, too long: neither written nor read."""
    with pytest.raises(ArchiveRefused):
        write_zip({name: b"x"})
    if name:
        length = struct.pack("<H", len(name.encode()))
        with pytest.raises(ArchiveRefused):
            read_zip(forged(name.encode(), length))


def forged(name, length):
    """An archive of one file that our writer would refuse, otherwise in the one form."""
    one = write_zip({"x": b"x"})
    local, rest = one[:30], one[31:]
    directory = rest.index(b"PK\x01\x02")
    local = local[:26] + length + local[28:]
    entry = rest[directory : directory + 46]
    entry = entry[:28] + length + entry[30:]
    body = local + name + rest[:directory]
    end = rest[directory + 47 :]
    end = end[:12] + struct.pack("<LL", 46 + len(name), len(body)) + end[20:]
    return body + entry + name + end


def test_two_files_of_one_name_are_refused():
    """Also names that only some systems tell apart; a second reader would see another file."""
    with pytest.raises(ArchiveRefused, match="one name"):
        write_zip({"p/a": b"1", "p/A": b"2"})
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = by_zipfile([("p/a", b"1"), ("p/a", b"2")])
    with pytest.raises(ArchiveRefused, match="one name"):
        read_zip(twice)


def test_files_out_of_order_are_refused():
    """Otherwise one set of files would have many archives."""
    with pytest.raises(ArchiveRefused, match="order"):
        read_zip(by_zipfile([("p/b", b""), ("p/a", b"")]))


def test_compression_is_refused_and_so_are_its_bombs():
    """A packet is as large as its files: nothing can swell while it is read."""
    bomb = by_zipfile([("p/a", bytes(10_000_000))], compression=zipfile.ZIP_DEFLATED)

    with pytest.raises(ArchiveRefused, match="compressed"):
        read_zip(bomb)


TRICKS = {
    "encrypted": patched(6, b"\x01\x00"),
    "length follows the content": patched(6, b"\x08\x00"),
    "dated today": patched(10, b"\x55\x55\x55\x55"),
    "an extra field of length 4": patched(28, b"\x04\x00"),
    "a ZIP64 size": patched(18, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    "sizes disagree": patched(22, b"\x06\x00\x00\x00"),
    "another name in the directory": patched(DIRECTORY + 46, b"p/b"),
    "a link": patched(DIRECTORY + 38, struct.pack("<L", 0o120777 << 16)),
    "an executable": patched(DIRECTORY + 38, struct.pack("<L", 0o100755 << 16)),
    "another offset in the directory": patched(DIRECTORY + 42, b"\x01"),
    "a comment in the directory": patched(DIRECTORY + 32, b"\x01\x00"),
    "a second disk": patched(END + 4, b"\x01\x00"),
    "one file less in the end record": patched(END + 10, b"\x03\x00"),
    "a comment at the end": patched(END + 20, b"\x03\x00") + b"abc",
    "not a zip": b"not a zip",
    "nothing": b"",
    "an empty zip": by_zipfile([]),
}


@pytest.mark.parametrize("data", TRICKS.values(), ids=TRICKS.keys())
def test_tricks_that_make_two_readers_see_two_packets_are_refused(data):
    """Whatever a lenient reader would do with it, this one reads nothing."""
    with pytest.raises(ArchiveRefused):
        read_zip(data)


def test_a_folder_entry_is_refused():
    """Folders follow from names; an entry of their own would be a second form."""
    with pytest.raises(ArchiveRefused):
        read_zip(by_zipfile([("p/", b""), ("p/a", b"")]))


def test_too_much_is_refused_before_it_is_taken_apart(monkeypatch):
    """Limits on bytes and on files, for the writer as for the reader."""
    monkeypatch.setattr(archive, "MAX_ARCHIVE", 500)
    monkeypatch.setattr(archive, "MAX_FILES", 3)

    with pytest.raises(ArchiveRefused):
        write_zip({"p/a": bytes(500)})
    with pytest.raises(ArchiveRefused):
        read_zip(GOOD)
    with pytest.raises(ArchiveRefused):
        write_zip(dict.fromkeys("abcd", b""))
    with pytest.raises(ArchiveRefused):
        read_zip(by_zipfile([(name, b"") for name in "abcd"]))


def test_random_bytes_are_refused_and_nothing_else_happens():
    """No other exception than the one that says so."""
    dice = random.Random(3)

    for _ in range(300):
        data = bytearray(GOOD)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        start, end = sorted((dice.randrange(len(data)), dice.randrange(len(data))))
        for candidate in (bytes(data[start:end]), dice.randbytes(end), b"PK\x03\x04" + data[end:]):
            with pytest.raises(ArchiveRefused):
                read_zip(bytes(candidate))


def test_contents_lie_in_the_order_of_their_names():
    """The form is what the docstring says: names ascending, no gap."""
    names = [name for name, _ in zipfile_names()]

    assert all(a < b for a, b in pairwise(names))


def zipfile_names():
    with zipfile.ZipFile(io.BytesIO(GOOD)) as pack:
        return [(info.filename, info.header_offset) for info in pack.infolist()]
