# SPDX-License-Identifier: GPL-3.0-or-later
"""A follower that is killed in the middle of its work, and the next one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from house import PASSPHRASE, attempt

from ledger.redaction.follower import Follower

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PROMPTS = 60
_FOLLOW = """
import sys
import time
from pathlib import Path
from ledger.database import Database
from ledger.keystore import FileKeystore
from ledger.redaction import follower
from ledger.vault.vault import Vault
directory, url, schema, origin = sys.argv[1:]
follower._BATCH = 2
keys = FileKeystore(Path(directory) / "keystore", sys.stdin.buffer.read())
database = Database(url)
vault = Vault(database, schema=schema, origin=origin, keys=keys)
def progress(done, _):
    if done:
        print(done, flush=True)
    if done > 8:
        time.sleep(1)  # Whoever kills us may be kept from it for a while.
follower.Follower(database, vault, schema).run(progress=progress)
"""


def test_killed_in_the_middle_it_leaves_no_prompt_out_and_none_half_done(house):
    """SIGKILL between two commits or within one; the next follower ends with one copy of each."""
    house.post(*[attempt(sealed={"prompt.user": f"lighthouse {n}"}) for n in range(PROMPTS)])
    process = subprocess.Popen(
        [sys.executable, "-c", _FOLLOW, house.directory, house.app_url, house.schema, house.origin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
    )
    with process:
        process.stdin.write(PASSPHRASE)
        process.stdin.close()
        assert process.stdout.readline(), "it never began"
        os.kill(process.pid, signal.SIGKILL)
    first = copies(house)

    follower = Follower(house.database, house.book.vault, house.schema)
    while follower.run().busy:  # PostgreSQL has not noticed yet that the other one is gone.
        time.sleep(0.05)

    assert 0 < len(first) < PROMPTS
    assert copies(house)[: len(first)] == first
    assert [position for position, _ in copies(house)] == list(range(PROMPTS))


def copies(house):
    """Position and bytes of each copy, in order."""
    with house.owner() as owner:
        query = f"SELECT position, blob FROM {house.schema}.redacted ORDER BY position"
        return owner.execute(query).fetchall()
