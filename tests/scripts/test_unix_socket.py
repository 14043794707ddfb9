# SPDX-License-Identifier: GPL-3.0-or-later
"""The API on a Unix socket: for a proxy on the same host."""

import socket
import stat

import pytest

from ledger.errors import Refused
from scripts.serve import bind, where


def test_its_user_and_group_may_connect_and_nobody_else(tmp_path):
    """Mode 0660, and an address that says what it is."""
    path = tmp_path / "api"
    with bind(f"unix:{path}", 0) as listener, socket.socket(socket.AF_UNIX) as caller:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert where("ignored", listener) == f"unix:{path}"
        caller.connect(str(path))


def test_what_a_dead_server_left_is_replaced(tmp_path):
    """A socket file that nobody listens on keeps no server from starting."""
    path = tmp_path / "api"
    bind(f"unix:{path}", 0).close()

    with bind(f"unix:{path}", 0), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_a_live_server_keeps_its_socket(tmp_path):
    """A second server with the same setting is refused; the first goes on."""
    path = tmp_path / "api"
    with bind(f"unix:{path}", 0):
        with pytest.raises(Refused, match="socket"):
            bind(f"unix:{path}", 0)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))


def test_another_file_is_left_alone(tmp_path):
    """Whatever lies where the socket should be is not ours to remove."""
    path = tmp_path / "api"
    path.write_text("a letter")

    with pytest.raises(Refused, match="socket"):
        bind(f"unix:{path}", 0)
    assert path.read_text() == "a letter"
