# SPDX-License-Identifier: GPL-3.0-or-later
"""SoftHSM2 from Debian, a PKCS#11 module in software: one token for the whole test process.

It keeps keys in files, but its answers are a module's: what is not extractable does not come out.
A process has one PKCS#11 configuration for its life, so there is one token for all of its tests.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PIN: Final = b"a PIN for tests"
_LABEL: Final = "sealtrail-tests"
_PACKAGES: Final = ("libsofthsm2", "softhsm2")


class NoModuleError(Exception):
    """There is no SoftHSM2 here, and Debian's packages cannot be had."""


@dataclass(frozen=True)
class SoftModule:
    """What a keystore needs to find the token; `environment` is for child processes."""

    module: Path
    token: str
    pin: bytes
    environment: dict[str, str]


def soft_module(directory: Path) -> SoftModule:
    """Make a token below `directory`, and let this process and its children find it."""
    module, tool = _installed() or _unpacked(directory)
    tokens = directory / "tokens"
    tokens.mkdir(mode=0o700)
    configuration = directory / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    environment = {"SOFTHSM2_CONF": str(configuration)}
    subprocess.run(
        [tool, "--module", module, "--init-token", "--free", "--label", _LABEL,
         "--pin", PIN.decode(), "--so-pin", "an SO PIN for tests"],
        check=True,
        capture_output=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    os.environ.update(environment)
    return SoftModule(module=module, token=_LABEL, pin=PIN, environment=environment)


def _installed() -> tuple[Path, Path] | None:
    module, tool = Path("/usr/lib/softhsm/libsofthsm2.so"), shutil.which("softhsm2-util")
    return (module, Path(tool)) if module.exists() and tool is not None else None


def _unpacked(directory: Path) -> tuple[Path, Path]:
    """Unpack Debian's packages where anybody may write."""
    try:
        subprocess.run(
            ["apt-get", "download", *_PACKAGES], cwd=directory, check=True, capture_output=True,
            timeout=60,
        )  # fmt: skip
        for package in directory.glob("*.deb"):
            subprocess.run(
                ["dpkg-deb", "-x", package, directory / "debian"], check=True, capture_output=True
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise NoModuleError(
            "Debian's softhsm2 is not installed and cannot be downloaded"
        ) from error
    root = directory / "debian" / "usr"
    return next(root.rglob("libsofthsm2.so")), root / "bin" / "softhsm2-util"
