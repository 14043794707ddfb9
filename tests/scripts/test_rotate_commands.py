# SPDX-License-Identifier: GPL-3.0-or-later
"""A production installation whose keys are in a module: made, rotated and checked by commands."""

import json

import pytest
from installation import ORIGIN, install, record
from keepers import module  # noqa: F401 - a fixture

from ledger.embedded import EmbeddedPostgres
from sealtrail.verify.trust import Trust


@pytest.fixture(scope="module")
def on_module(authority, tmp_path_factory, module):  # noqa: F811
    """On a server of its own: the roles of a tenant belong to the owner of one installation."""
    directory = tmp_path_factory.mktemp("module")
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data") as postgres:
        yield install(
            postgres,
            authority,
            directory,
            pin=module.pin,
            SEALTRAIL_KEYS="pkcs11",
            SEALTRAIL_PKCS11_MODULE=str(module.module),
            SEALTRAIL_PKCS11_TOKEN=module.token,
        )


def test_keys_in_a_module_are_attested_as_such(on_module):
    """Only the chain keys can be copied, and their note says how they are kept."""
    keys = {key["name"]: key for key in on_module.here("keys", "list")["keys"]}

    assert {key["driver"] for key in keys.values()} == {"pkcs11"}
    assert not keys[f"log/{ORIGIN}"]["exportable"]
    assert keys[f"chain/{ORIGIN}/0"]["exportable"]
    assert "outside" in keys[f"chain/{ORIGIN}/0"]["note"]


def test_every_kind_of_key_is_rotated_by_a_command(on_module):
    """Chain, log, packet and wrapping keys, one by one; what was recorded stays sound."""
    chain = on_module.here("keys", "rotate", "chain", "--book=acme")["books"]
    begun = on_module.here("keys", "rotate", "checkpoint", "--overlap=7d")
    again = on_module.here("keys", "rotate", "checkpoint")
    early = on_module.here("keys", "rotate", "checkpoint", "--end")
    record(on_module)
    ended = on_module.here("keys", "rotate", "checkpoint", "--end", "--now")
    wrapping = on_module.here("keys", "rotate", "wrapping", "--book=acme")["books"]
    record(on_module)
    packet = on_module.here("keys", "rotate", "packet", "--book=acme")["books"]
    subjects = on_module.here("keys", "rotate", "subjects", "--book=acme")["books"]
    record(on_module)

    assert subjects[0]["generation"] == 3
    assert [(row["new"] - row["old"], row["destroyed"]) for row in chain] == [(1, True)]
    assert {row["state"] for row in begun["books"]} == {"begun"}
    assert {row["state"] for row in again["books"]} == {"open already"}
    assert {row["state"] for row in early["books"]} == {"overlap runs"}
    assert {row["state"] for row in ended["books"]} == {"ended"}
    assert wrapping[0]["generation"] == 2
    names = {key["name"] for key in on_module.here("keys", "list")["keys"]}
    assert f"log/{ORIGIN}+2" in names
    assert not names & {f"log/{ORIGIN}", f"chain/{ORIGIN}/0", f"subjects/{ORIGIN}/1"}
    trust = Trust.parse((on_module.directory / "data" / "trust.json").read_bytes())
    assert len(trust.origins[ORIGIN]) == 2
    assert len(trust.until) == 2
    assert f"packet/{ORIGIN}+2" in names
    assert f"packet/{ORIGIN}" not in names
    assert trust.packet_keys[ORIGIN][-1].vkey() == packet[0]["new_key"]
    assert len(trust.packet_keys[ORIGIN]) == 2
    checked = on_module.here("fsck", "--full", code=3)["books"]  # Without the escrow key.
    assert [one["damage"] for one in checked] == [[], []]
    assert on_module.here("anchor", "now")


def test_another_pin_and_another_token_open_nothing(on_module, tmp_path):
    """Refused as a locked keystore, without a word about the PIN."""
    wrong = tmp_path / "pin"
    wrong.write_text("not the PIN")
    wrong.chmod(0o600)

    for changes in (
        {"SEALTRAIL_KEYSTORE_PASSPHRASE_FILE": str(wrong)},
        {"SEALTRAIL_PKCS11_TOKEN": "nobody's"},
    ):
        said = on_module.json("keys", "list", code=3, **changes)
        assert said["error"] in ("keystore-locked", "keystore-unreachable")
        assert "not the PIN" not in json.dumps(said)


@pytest.mark.parametrize("overlap", ["7", "-1d", "1w", "400d", "01d", ""])
def test_an_overlap_is_days_or_hours(on_module, overlap):
    said = on_module.here("keys", "rotate", "checkpoint", f"--overlap={overlap}", code=2)

    assert "--overlap" in said["detail"]
