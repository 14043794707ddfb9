# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `sealtrail`: the verifier under another name, and proofs over real HTTP."""

import json
import subprocess
import sys
from uuid import uuid4

import pytest

from sealtrail import cli


@pytest.fixture
def posted(recorder):
    return recorder.post("GEN_ATTEMPT", aggregate_id=str(uuid4()), body={}, on_behalf_of="p-7")


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("token-of-an-auditor\n")
    return str(path)


@pytest.fixture
def files(tmp_path, ledger, posted):
    """The exact entry and a trust file, as the recorder's owner keeps them."""
    (tmp_path / "entry.json").write_bytes(ledger.entries[posted.position])
    (tmp_path / "trust.json").write_bytes(ledger.trust.print())
    return tmp_path


def test_a_proof_is_fetched_and_checked(files, url, posted, token_file, capsys):
    """Fetched into a file, then checked offline: sound, and a promise until it is stamped."""
    out = str(files / "x.tlog-proof")

    assert cli.main(["proof", "get", posted.event_id, "--ledger", url, "--token-file", token_file,
                     "--out", out]) == 0  # fmt: skip
    assert capsys.readouterr().out == ""
    entry, trust = str(files / "entry.json"), str(files / "trust.json")
    assert cli.main(["proof", "verify", out, "--entry", entry, "--trust", trust]) == 3
    text = capsys.readouterr().out
    assert text.endswith("INCOMPLETE\n")
    assert "REFUTED" not in text


def test_a_proof_is_printed_as_text_or_json(url, posted, token_file, capsys, monkeypatch):
    """Address and token may come from the environment; data goes to stdout."""
    monkeypatch.setenv("SEALTRAIL_LEDGER", url)
    monkeypatch.setenv("SEALTRAIL_TOKEN_FILE", token_file)

    assert cli.main(["proof", "get", posted.event_id]) == 0
    text = capsys.readouterr().out
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 0\n")
    assert cli.main(["proof", "get", posted.event_id, "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (whole["position"], whole["size"], whole["proof"]) == (0, 1, text)


@pytest.mark.parametrize("missing", ["--ledger", "--token-file"])
def test_wrong_usage_ends_with_two(url, token_file, capsys, missing, monkeypatch):
    """Talk goes to stderr; nothing is fetched."""
    monkeypatch.delenv("SEALTRAIL_LEDGER", raising=False)
    monkeypatch.delenv("SEALTRAIL_TOKEN_FILE", raising=False)
    given = {"--ledger": url, "--token-file": token_file}
    arguments = [part for name, value in given.items() if name != missing for part in (name, value)]

    assert cli.main(["proof", "get", "x", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("sealtrail: ")


def test_a_token_file_that_is_not_there_is_wrong_usage(url, tmp_path, capsys):
    """It is named; its content never is."""
    nowhere = str(tmp_path / "nowhere")

    assert cli.main(["proof", "get", "x", "--ledger", url, "--token-file", nowhere]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "status", "word"),
    [
        (["proof", "get", "x"], 2, "refused"),
        (["event", "show", "x y"], 2, "refused"),
        (["event", "post", "/nonexistent"], 2, "refused"),
        (["tail"], 2, "refused"),
        (["journal", "check", "--trust", "/nonexistent"], 2, "refused"),
        (["journal", "check", "--trust", __file__], 4, "unreadable"),
        (["journal", "list", "/nonexistent"], 2, "refused"),
        (["proof", "standing", "x", "--entry", "x", "--trust", "x"], 2, "refused"),
    ],
)
def test_an_error_is_json_as_well_where_json_was_asked_for(command, status, word, capsys):
    """One document on standard output, whatever happens: a script need not read what is talk."""
    assert cli.main([*command, "--json"]) == status
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == word
    assert err == ""


def test_verify_needs_no_http_client():
    """Checking offline works where only the standard library is installed."""
    code = (
        "import sys; sys.modules['httpx2'] = None; from sealtrail import cli;"
        "sys.exit(cli.main(['verify', '/nonexistent']))"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert result.returncode == 2
    assert b"Traceback" not in result.stderr
