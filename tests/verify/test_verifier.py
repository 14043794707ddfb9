# SPDX-License-Identifier: GPL-3.0-or-later
"""The verifier as a stranger runs it: one file, isolated, with nothing installed."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from good_packet import FILES, LOG, PACKET, TRUST
from packet_maker import Log, pack, packet_files

from sealtrail.verify import command
from sealtrail.verify.build import build_verifier
from sealtrail.verify.zip import read_zip

ROOT = Path(__file__).resolve().parents[2]
WORDS = {0: "VERIFIED", 1: "REFUTED", 3: "INCOMPLETE"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A stranger's folder: the verifier, some packets, a trust file."""
    folder = tmp_path_factory.mktemp("desk")
    name = b"data/records/7-GEN.entry.json"
    at = PACKET.index(name) + len(name) + 5
    for file, data in {
        "verify.pyz": build_verifier(),
        "good.zip": PACKET,
        "changed.zip": PACKET[:at] + bytes([PACKET[at] ^ 1]) + PACKET[at + 1 :],
        "foreign.zip": pack(packet_files(Log())),
        "broken.zip": PACKET[:-1],
        "trust.json": TRUST.print(),
        "bad-trust.json": b"{}",
        "3.tlog-proof": FILES["data/proofs/3.tlog-proof"],
        "3.entry.json": LOG.entries[3],
        "7.entry.json": LOG.entries[7],
    }.items():
        (folder / file).write_bytes(data)
    return folder


def run(desk, *arguments, flags=("-I", "-S")):
    return subprocess.run(
        [sys.executable, *flags, "verify.pyz", *arguments],
        cwd=desk,
        capture_output=True,
        text=True,
        check=False,
    )


TRUSTED = ("--trust", "trust.json")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("good.zip", *TRUSTED), 0),
        (("good.zip",), 3),
        (("changed.zip", *TRUSTED), 1),
        (("changed.zip",), 1),
        (("foreign.zip", *TRUSTED), 1),
        (("foreign.zip",), 3),
        (("3.tlog-proof", "--entry", "3.entry.json", *TRUSTED), 3),
        (("3.tlog-proof", "--entry", "7.entry.json", *TRUSTED), 1),
        (("3.tlog-proof", *TRUSTED), 3),
        (("3.tlog-proof", "--entry", "3.entry.json"), 3),
        (("good.zip", *TRUSTED, "--now", "2060-01-01T00:00:00Z"), 3),
    ],
)
def test_verdicts_with_and_without_packages_are_equal(desk, arguments, code):
    """`-I -S` shuts out every package; without it `cryptography` is used. Same words, same end."""
    bare = run(desk, *arguments)
    full = run(desk, *arguments, flags=())

    assert (bare.returncode, bare.stderr) == (code, "")
    assert bare.stdout.endswith(f"\n{WORDS[code]}\n")
    assert full.stdout == bare.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("broken.zip", *TRUSTED), 4),
        (("trust.json",), 4),
        (("good.zip", "--trust", "bad-trust.json"), 4),
        (("nowhere.zip",), 2),
        (("good.zip", "--trust", "nowhere.json"), 2),
        (("good.zip", "--entry", "3.entry.json"), 2),
        (("good.zip", "--now", "yesterday"), 2),
        (("good.zip", "--now", "2026-01-01T00:00:00"), 2),
        (("good.zip", "--now", "9999-12-31T23:59:59Z"), 2),
        (("good.zip", "--now", "9999-12-31T23:59:59-12:00"), 2),
        (("good.zip", "--now", "0001-01-01T00:00:00+10:00"), 2),
        ((), 2),
    ],
)
def test_what_is_no_verdict_prints_none(desk, arguments, code):
    """Unreadable files and wrong usage: nothing on stdout, a sentence on stderr."""
    result = run(desk, *arguments)

    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_json_is_printed_on_demand(desk):
    """The same report for programs."""
    result = run(desk, "good.zip", *TRUSTED, "--json")

    assert json.loads(result.stdout)["verdict"] == "verified"


@pytest.mark.parametrize(
    ("name", "code", "word"), [("none.zip", 2, "refused"), ("trust.json", 4, "unreadable")]
)
def test_no_verdict_is_json_too_where_json_was_asked_for(desk, name, code, word):
    """One document on standard output, whatever happens: a script need not read talk."""
    result = run(desk, name, "--json")
    assert result.returncode == code
    assert json.loads(result.stdout)["error"] == word
    assert result.stderr == ""


def test_a_terminal_that_knows_only_ascii_gets_the_report_too(desk):
    """What it cannot show is spelled out; the report does not end in an error."""
    result = subprocess.run(
        [sys.executable, "-S", "verify.pyz", "good.zip", *TRUSTED],
        cwd=desk,
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin:/usr/local/bin"},
    )

    assert result.returncode == 0
    assert result.stdout.isascii()
    assert result.stdout.endswith(b"VERIFIED\n")


def test_verdicts_do_not_rest_on_asserts(desk):
    """`python -O` drops asserts and nothing else."""
    assert run(desk, "changed.zip", *TRUSTED, flags=("-O", "-I")).returncode == 1


def test_a_fault_of_the_verifier_itself_is_no_verdict(monkeypatch, capsys, desk):
    """Python ends with 1 after a fault, which here would read as `refuted`."""
    monkeypatch.setattr(command, "read_packet", None)

    assert command.main([str(desk / "good.zip")]) == command.EXIT_FAULT
    assert "Traceback" in capsys.readouterr().err


def test_two_builds_are_equal_byte_for_byte(tmp_path):
    """From the package, from the script, and from the file itself."""
    script = ROOT / "scripts" / "build_verifier"
    built = subprocess.run(
        [sys.executable, "-I", "-S", str(script), "one.pyz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    again = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            (
                "import sys; sys.path.insert(0, 'one.pyz')\n"
                "from sealtrail.verify import build\n"
                "assert 'one.pyz' in build.__file__\n"
                "sys.stdout.buffer.write(build.build_verifier())"
            ),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )

    data = (tmp_path / "one.pyz").read_bytes()
    assert data == build_verifier() == again.stdout
    assert built.stdout == f"{hashlib.sha256(data).hexdigest()}  one.pyz\n"


def test_the_script_needs_exactly_one_name(tmp_path):
    """Anything else is wrong usage."""
    script = ROOT / "scripts" / "build_verifier"
    for arguments in ([], ["a", "b"], ["--help"]):
        result = subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert result.returncode == 2


def test_the_file_holds_the_verifier_and_nothing_else():
    """Only `sealtrail/verify`, in fixed order, dated 1980-01-01, not compressed."""
    data = build_verifier()
    names = list(read_zip(data).files)

    assert names[:2] == ["__main__.py", "sealtrail/__init__.py"]
    assert all(name.startswith("sealtrail/verify/") for name in names[2:])
    with zipfile.ZipFile(io.BytesIO(data)) as pack:
        assert {info.date_time for info in pack.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_verifier_imports_nothing_but_the_standard_library(desk):
    """With cryptography tried in two places only, and everything else at home."""
    listed = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            (
                "import sys; sys.path.insert(0, 'verify.pyz')\n"
                "import sealtrail.verify.command\n"
                "names = {name.partition('.')[0] for name in sys.modules}\n"
                "print(*sorted(names - set(sys.stdlib_module_names)))"
            ),
        ],
        cwd=desk,
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(listed.stdout.split()) <= {"sealtrail", "__main__"}
