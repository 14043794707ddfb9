# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault's bytes are those of a second program that shares no code with it."""

import hmac
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.vault.construction import (
    AESGCM,
    index_message,
    open_blob,
    open_identity,
    seal_blob,
    seal_identity,
    unwrap_other,
    wrap_other,
)

FOLDER = Path(__file__).resolve().parents[1] / "vectors"
VECTORS = json.loads((FOLDER / "vault.json").read_text("utf-8"))


def raw(vector):
    """The vector with every hexadecimal string as bytes."""
    clear = ("field", "value", "disclosures")
    return {name: one if name in clear else bytes.fromhex(one) for name, one in vector.items()}


def test_the_file_is_what_the_second_program_writes(tmp_path):
    """Nobody edits vectors by hand."""
    subprocess.run([sys.executable, "-I", FOLDER / "make_vault.py", tmp_path], check=True)

    assert (tmp_path / "vault.json").read_bytes() == (FOLDER / "vault.json").read_bytes()


@pytest.mark.parametrize("vector", [raw(one) for one in VECTORS["blob"]])
def test_a_blob_is_sealed_and_opened_to_the_byte(vector):
    """The list of disclosures under its own key, that key under the subject's."""
    key = AESGCM(vector["subject_key"])
    place = {"event_id": vector["event_id"], "ref": vector["ref"]}

    sealed = seal_blob(key, vector["disclosures"], chance=vector["dek"] + vector["nonce"], **place)

    assert sealed == (vector["wrapped_dek"], vector["blob"])
    assert open_blob(key, *sealed, **place) == vector["disclosures"]


@pytest.mark.parametrize("vector", [raw(one) for one in VECTORS["identity"]])
def test_an_identity_is_sealed_and_opened_to_the_byte(vector):
    """Under the subject's own key."""
    key, ref = AESGCM(vector["subject_key"]), vector["ref"]
    id_ = vector["data"].decode()

    assert seal_identity(key, id_, ref=ref, nonce=vector["nonce"]) == vector["sealed"]
    assert open_identity(key, vector["sealed"], ref=ref) == id_


@pytest.mark.parametrize("vector", [raw(one) for one in VECTORS["wrap"]])
def test_another_key_is_wrapped_and_unwrapped_to_the_byte(vector):
    """Bound to what it is the key of."""
    key, place = AESGCM(vector["subject_key"]), {"ref": vector["ref"], "aad": vector["aad"]}

    assert wrap_other(key, vector["data"], nonce=vector["nonce"], **place) == vector["sealed"]
    assert unwrap_other(key, vector["sealed"], **place) == vector["data"]


@pytest.mark.parametrize("vector", [raw(one) for one in VECTORS["index"]])
def test_a_blind_index_is_the_mac_of_field_and_composed_value(vector):
    """However the value was typed."""
    message = index_message(vector["field"], vector["value"])

    assert message == vector["message"]
    assert hmac.digest(vector["key"], message, "sha256") == vector["index"]
