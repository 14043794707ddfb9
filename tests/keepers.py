# SPDX-License-Identifier: GPL-3.0-or-later
"""One keystore of each driver, each on a real keeper of keys: fixtures for whoever imports them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from kms_server import KmsServer
from soft_module import NoModuleError, SoftModule, soft_module

from ledger import clock
from ledger.keydrivers.held import HeldKeystore
from ledger.keydrivers.kms import KmsDevice
from ledger.keys import Keys
from ledger.keystore import FileKeystore

PASSPHRASE = b"a passphrase for drivers"

_made: list[SoftModule] = []


@dataclass(frozen=True)
class Keeper:
    """A keystore, and how another process would open the same one."""

    keys: Keys
    again: Callable[[], Keys]
    directory: Path
    origin: str  #: One that no other test uses: all share one token.

    def name(self, kind: str) -> str:
        return f"{kind}/{self.origin}"


@pytest.fixture(scope="session")
def module(tmp_path_factory) -> SoftModule:
    try:
        # Once in a process, whichever folders' tests it runs.
        if not _made:
            _made.append(soft_module(tmp_path_factory.mktemp("softhsm")))
    except NoModuleError as error:
        pytest.skip(str(error))
    return _made[0]


@pytest.fixture(scope="session")
def kms():
    with KmsServer() as server:
        yield server


@pytest.fixture(scope="session")
def kms_client(kms):
    """Making one takes boto3 a third of a second."""
    return kms.client()


@pytest.fixture
def pkcs11_keeper(module, tmp_path) -> Keeper:
    from ledger.keydrivers.pkcs11 import Pkcs11Device

    def again() -> Keys:
        device = Pkcs11Device(module.module, module.token, module.pin)
        return HeldKeystore(tmp_path / "pkcs11", device)

    return _keeper(tmp_path / "pkcs11", again)


@pytest.fixture
def kms_keeper(kms_client, tmp_path) -> Keeper:
    directory = tmp_path / "kms"
    return _keeper(directory, lambda: HeldKeystore(directory, KmsDevice(kms_client)))


@pytest.fixture
def file_keeper(tmp_path) -> Keeper:
    directory = tmp_path / "file"
    return _keeper(directory, lambda: FileKeystore(directory, PASSPHRASE))


@pytest.fixture(params=["file", "pkcs11", "kms"])
def keeper(request) -> Keeper:
    """The same for every driver: what this suite promises, each of them keeps."""
    return request.getfixturevalue(f"{request.param}_keeper")


@pytest.fixture(params=["pkcs11", "kms"])
def held(request) -> Keeper:
    """A driver whose keys are in a device."""
    return request.getfixturevalue(f"{request.param}_keeper")


def _keeper(directory: Path, again: Callable[[], Keys]) -> Keeper:
    origin = f"ledger.test/{clock.random_bytes(6).hex()}"
    return Keeper(again(), again, directory, origin)
