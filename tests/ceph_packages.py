# SPDX-License-Identifier: GPL-3.0-or-later
"""Ceph's programs, as Debian ships them: installed, or fetched once and unpacked without root.

apt checks the packages' signatures; they are unpacked below ~/.cache and nothing is installed.
"""

import fcntl
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

_WANTED: Final = ("ceph-mon", "ceph-osd", "radosgw", "ceph-common")
_PROGRAMS: Final = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool")
_MACHINE: Final = f"{platform.machine()}-linux-gnu"
_LIBRARIES: Final = f"usr/lib/{_MACHINE}"


def ceph_root() -> Path:
    """Return the root below which `usr/bin/ceph-mon` lies; skips the test if there is none."""
    if all(shutil.which(program) for program in _PROGRAMS):
        return Path("/")
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("Ceph is not installed, and this is no Debian that could fetch it")
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "sealtrail-tests"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".ceph").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (cache / "ceph").is_dir():
            _fetch(cache)
    return cache / "ceph"


def environment(root: Path) -> dict[str, str]:
    """Return what a program below `root` needs to find its own libraries."""
    if root == Path("/"):
        return {"PATH": os.defpath}
    folders = (_LIBRARIES, f"{_LIBRARIES}/ceph", f"lib/{_MACHINE}")
    return {
        "PATH": f"{root / 'usr/bin'}:{os.defpath}",
        "LD_LIBRARY_PATH": ":".join(str(root / folder) for folder in folders),
    }


def plugin_options(root: Path) -> dict[str, str]:
    """Return the options that tell Ceph where its own plugins are."""
    libraries = root / _LIBRARIES
    return {
        "erasure_code_dir": f"{libraries}/ceph/erasure-code",
        "plugin_dir": f"{libraries}/ceph",
        "osd_class_dir": f"{libraries}/rados-classes",
    }


def _fetch(cache: Path) -> None:
    """Fetch what is missing on this machine, and unpack it; skips if that cannot be done."""
    plan = _apt("install", "--simulate", "--no-install-recommends", *_WANTED)
    names = re.findall(r"^Inst (\S+) ", plan, re.MULTILINE)
    if not names:
        pytest.skip("this Debian knows no packages of Ceph (apt-get update)")
    packages, unpacked = cache / "packages", cache / "ceph.new"
    for folder in (packages, unpacked):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    _apt("download", *names, directory=packages)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True)
    shutil.rmtree(packages)
    unpacked.rename(cache / "ceph")


def _apt(*arguments: str, directory: Path | None = None) -> str:
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        check=False,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": f"{os.defpath}:/usr/sbin:/sbin", "LC_ALL": "C"},
    )
    if done.returncode != 0:
        pytest.skip(f"apt-get {arguments[0]} cannot fetch Ceph: {done.stderr.strip()[-200:]}")
    return done.stdout
