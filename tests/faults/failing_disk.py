# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that fails: real ones for root (a small or read-only mount), else what the system says.

`failing` stands in for the operating system, not for code of ours: a call on a path below one
directory says that it failed. What was done before it is done: a name that could not be made sure
is there all the same.
"""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

Call = Literal["fsync", "fsync of the directory", "rename", "write", "open", "pwrite", "fdatasync"]


class Failures:
    """How often the disk has failed."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def failing(
    call: Call, below: Path, *, skip: int = 0, times: int = 10**6, error: int = errno.EIO
) -> Iterator[Failures]:
    """Have a call of the system fail for every path below a directory.

    skip: so many calls succeed at first. times: so many fail then.
    """
    name = call.partition(" ")[0]
    real, failures = getattr(os, name), Failures()

    def concerned(arguments: tuple) -> bool:
        what = arguments[0]
        path = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else Path(what)
        is_directory = call == "fsync of the directory"
        return path.is_relative_to(below) and (name != "fsync" or path.is_dir() == is_directory)

    def stand_in(*arguments, **options):
        nonlocal skip
        if failures.count >= times or not concerned(arguments):
            return real(*arguments, **options)
        if skip:
            skip -= 1
            return real(*arguments, **options)
        failures.count += 1
        raise OSError(error, os.strerror(error))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, stand_in)
        yield failures


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Have the disk of a directory be full: a mount that root makes and fills, else by its word."""
    if os.geteuid() != 0:
        with failing("write", directory, error=errno.ENOSPC):
            yield
        return
    with small_mount(directory):
        fill(directory)
        yield


@contextmanager
def small_mount(directory: Path, kilobytes: int = 256) -> Iterator[None]:
    """Put a small file system over a directory, with its files.

    What is written there lies there only: at the end it is copied back.
    """
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    mode = directory.stat()
    options = f"size={kilobytes}k,mode={mode.st_mode & 0o777:o},uid={mode.st_uid},gid={mode.st_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(directory)], check=True)
    try:
        for name, data in before.items():
            (directory / name).write_bytes(data)

        yield
        after = {path.name: path.read_bytes() for path in directory.iterdir()}
    finally:
        subprocess.run(["umount", str(directory)], check=True)
    for name in after.keys() - {"filler"}:
        (directory / name).write_bytes(after[name])


def fill(directory: Path) -> Path:
    """Write until there is no room left; return the file that takes it all."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Have a directory be read-only: its mount for root, the modes in it for everybody else."""
    if os.geteuid() != 0:
        paths = [*directory.iterdir(), directory]
        modes = [path.stat().st_mode & 0o777 for path in paths]
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode & ~0o222)
        try:
            yield
        finally:
            for path, mode in zip(reversed(paths), reversed(modes), strict=True):
                path.chmod(mode)
        return
    subprocess.run(["mount", "--bind", str(directory), str(directory)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(directory)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)
