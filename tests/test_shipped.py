# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves the building: three wheels with nothing else in them, and one file for strangers."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from repository import HOUSE, TEXTS
from test_house import SERVER


@pytest.mark.parametrize(
    ("project", "name", "packages"),
    [
        (".", "sealtrail_server", set(SERVER)),
        ("client", "sealtrail", {"sealtrail"}),
        ("gateway", "sealtrail_gateway", {"sealtrail_gateway"}),
    ],
)
def test_a_wheel_holds_our_packages_and_nothing_else(project, name, packages, tmp_path):
    """Top-level names collide with other people's; tests and shell files have no place there."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--wheel-dir", tmp_path, HOUSE / project],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob(f"{name}-*.whl")

    with zipfile.ZipFile(wheel) as archive:
        (record,) = [n for n in archive.namelist() if n.endswith(".dist-info/RECORD")]
        files = {line.split(",")[0] for line in archive.read(record).decode().splitlines()}

    shipped = {file for file in files if not file.startswith(f"{name}-0")}
    expected = {
        path.relative_to(HOUSE / project).as_posix()
        for path in TEXTS
        if path.relative_to(HOUSE)
        .as_posix()
        .startswith(
            tuple(f"{'' if project == '.' else project + '/'}{package}/" for package in packages)
        )
        and path.suffix in {".py", ".sql", ".txt"}
        and path != HOUSE / "scripts" / "build_verifier"
    }
    expected |= {"sealtrail/py.typed"} & shipped
    assert {file.partition("/")[0] for file in shipped} == packages
    assert shipped == expected


def build_verifier(target: Path, **environment: str) -> bytes:
    done = subprocess.run(
        [sys.executable, HOUSE / "scripts" / "build_verifier", target],
        check=True,
        capture_output=True,
        text=True,
        cwd=target.parent,
        env={**os.environ, **environment},
    )
    data = target.read_bytes()
    assert done.stdout == f"{hashlib.sha256(data).hexdigest()}  {target}\n"
    return data


def test_two_builds_of_the_verifier_are_the_one_that_we_name(tmp_path):
    """Whoever distrusts our file builds it, and gets the same bytes; README and CHANGELOG say so.

    After a change of the verifier: scripts/build_verifier out/verify.pyz --state
    """
    one = build_verifier(tmp_path / "one.pyz", TZ="Pacific/Kiritimati", LC_ALL="C")
    two = build_verifier(tmp_path / "two.pyz", TZ="UTC", PYTHONHASHSEED="7")

    stated = [
        re.findall(r"([0-9a-f]{64})  verify\.pyz", (HOUSE / name).read_text("utf-8"))
        for name in ("README.md", "CHANGELOG.md")
    ]

    assert one == two
    assert stated == [[hashlib.sha256(one).hexdigest()]] * 2


def test_the_verifier_starts_on_a_bare_python(tmp_path):
    """Isolated, without site-packages: what a stranger has."""
    build_verifier(tmp_path / "verify.pyz")

    done = subprocess.run(
        [sys.executable, "-I", "-S", tmp_path / "verify.pyz", "--help"],
        check=False,
        capture_output=True,
        text=True,
        env={},
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "--trust" in done.stdout


def test_importing_the_client_brings_nothing_along():
    """Every program of a pipeline pays for it: an HTTP client comes with the first call, no SDK."""
    program = (
        "import sys; before = set(sys.modules); import sealtrail; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    brought = set(told.stdout.split())
    assert "sealtrail" in brought
    assert brought - set(sys.stdlib_module_names) == {"sealtrail"}
