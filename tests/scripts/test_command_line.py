# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line itself: its words, its --json, its exit codes, and `dev` on a taken port."""

import json
import socket
import sys

import pytest
import typer
from dev_ledger import command
from typer.testing import CliRunner

from scripts import cli, output


def test_dev_on_a_port_that_is_taken_says_so_and_leaves_nothing_running(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = command("dev", "--data", tmp_path / "data", "--port", str(port), "--json")

    assert done.returncode == 2
    assert str(port) in json.loads(done.stdout)["detail"]
    cluster = tmp_path / "data" / "postgres" / "server" / "cluster"
    assert not (cluster / "postmaster.pid").exists()


def commands(group, path=()):
    """Every command, by the words that call it."""
    for name, found in sorted(group.commands.items()):
        if hasattr(found, "commands"):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name), found


ALL = dict(commands(typer.main.get_command(cli.app)))


def test_these_are_the_commands():
    assert {" ".join(words) for words in ALL} == {
        "dev", "serve", "scheduler", "migrate", "init", "clock", "fsck", "doctor",
        "anchor now", "anchor status", "anchor catch-up", "keys init", "keys list",
        "keys rotate chain", "keys rotate checkpoint", "keys rotate subjects",
        "keys rotate wrapping", "backup make", "backup verify", "backup restore", "backup keys",
        "redaction rules", "redaction status", "redaction follow",
        "retention plan", "retention publish", "retention retrieve", "retention status",
        "retention sweep",
        "archive check", "archive missing", "archive verify",
        "erase plan", "erase request", "erase approve", "erase status", "erase complete",
        "hold apply", "hold list", "hold release", "hold rebuild",
        "token forget", "token issue", "token list", "token revoke",
        "packet build", "packet verify", "restore", "attack",
        "alerts ack", "alerts rebuild", "cap-pack", "completeness", "dataset list",
        "dataset seal", "dataset show", "keys rotate packet", "lineage", "reviews",
        "search find", "search rebuild", "search status", "takedowns", "trace", "upgrades",
        "usage reconcile", "usage show",
    }  # fmt: skip


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_speaks_json_and_explains_itself(words):
    found = ALL[words]

    assert "--json" in {option for parameter in found.params for option in parameter.opts}
    assert (found.help or "").strip().endswith((".", "FOR PRODUCTION."))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("a mistake of ours"), output.FAULT),
        (FileNotFoundError(2, "No such file or directory", "escrow.json"), 2),
        (ConnectionError("lost"), 2),
    ],
)
def test_a_mistake_of_ours_ends_like_no_verdict(monkeypatch, capsys, error, code):
    """Python would end with 1, which here means `refuted`."""

    def fail(_):
        raise error

    monkeypatch.setattr("scripts.doctor.settings_from", fail)
    monkeypatch.setattr(sys, "argv", ["sealtrail-server", "doctor"])

    with pytest.raises(SystemExit) as end:
        cli.main()

    assert end.value.code == code
    assert ("Traceback" in capsys.readouterr().err) == (code == output.FAULT)


def test_wrong_usage_ends_with_two():
    for arguments in (["nothing"], ["fsck", "--nothing"], ["init"], ["anchor"], []):
        assert CliRunner().invoke(cli.app, arguments).exit_code == 2
    assert CliRunner().invoke(cli.app, ["--help"]).exit_code == 0
    issue = ["token", "issue", "--tenant=acme", "--role=auditor", "--name=x"]
    assert CliRunner().invoke(cli.app, issue).exit_code == 2
