# SPDX-License-Identifier: GPL-3.0-or-later
"""A real S3 with Object Lock on one machine: Ceph's RADOS Gateway over one disk in memory.

One monitor, one object store in memory and one gateway, on free ports of the loopback interface.
Everything is gone when its context ends; a lock of a hundred years ends with it.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import rmtree
from typing import Final, Self
from uuid import uuid4

from ceph_packages import ceph_root, environment, plugin_options

_START_S: Final = 90.0
_MONITOR: Final = Path(__file__).with_name("ceph_monitor.py")


class CephGateway:
    """A gateway for the length of its context, with two accounts that share nothing."""

    def __init__(self) -> None:
        self._root = ceph_root()
        self._environment = {**os.environ, **environment(self._root)}
        self._directory = Path(tempfile.mkdtemp(prefix="sealtrail-ceph-", dir="/tmp"))
        self._config = self._directory / "ceph.conf"
        self._started: list[subprocess.Popen[bytes]] = []
        self.endpoint = ""
        #: Access key and secret of the account that owns the archive's bucket.
        self.owner = ("AKOWNER", "secret-of-the-owner")

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):  # Nothing here is worth a slow farewell.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        rmtree(self._directory)

    def _start(self) -> None:
        ports = _free_ports(3)
        self._configure(ports)
        self.endpoint = f"http://127.0.0.1:{ports[2]}"
        addresses = f"[v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}]"
        monmap = self._directory / "monmap"
        self._run("monmaptool", "--create", "--addv", "a", addresses, "--fsid", self._fsid, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._serve("ceph-mon", "-i", "a", "-f")
        disk = str(uuid4())
        self._do(
            sys.executable, _MONITOR, self._config, json.dumps({"prefix": "osd new", "uuid": disk})
        )
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._serve("ceph-osd", "-i", "0", "-f")
        key, secret = self.owner
        self._run("radosgw-admin", "user", "create", "--uid=owner", "--display-name=owner",
                  f"--access-key={key}", f"--secret-key={secret}")  # fmt: skip
        self._serve("radosgw", "-n", "client.rgw.a", "-f")
        self._await(ports[2])

    def _configure(self, ports: list[int]) -> None:
        self._fsid = str(uuid4())
        for name in ("mon", "osd", "rgw", "run", "log"):
            (self._directory / name).mkdir()
        where = self._directory
        everywhere = {
            "fsid": self._fsid,
            "mon_host": f"v2:127.0.0.1:{ports[0]},v1:127.0.0.1:{ports[1]}",
            "public_addr": "127.0.0.1",
            "cluster_addr": "127.0.0.1",
            "auth_cluster_required": "none",
            "auth_service_required": "none",
            "auth_client_required": "none",
            "ms_mon_client_mode": "crc",
            "ms_client_mode": "crc",
            "osd_pool_default_size": "1",
            "osd_pool_default_min_size": "1",
            "osd_pool_default_pg_num": "1",
            "osd_pool_default_pgp_num": "1",
            "osd_pool_default_pg_autoscale_mode": "off",
            "osd_crush_chooseleaf_type": "0",
            "mon_allow_pool_size_one": "true",
            "mon_max_pg_per_osd": "1000",
            "mon_data_avail_crit": "0",
            "paxos_propose_interval": "0.05",  # Each pool waits for a round of its own.
            "paxos_min_wait": "0.01",
            "osd_objectstore": "memstore",
            "memstore_device_bytes": str(2**30),
            "run_dir": f"{where}/run",
            "admin_socket": f"{where}/run/$name.$pid.asok",
            "log_file": f"{where}/log/$name.log",
            "pid_file": f"{where}/run/$name.pid",
            "crash_dir": f"{where}/run",
            "rgw_data": f"{where}/rgw",
            **plugin_options(self._root),
        }
        sections = {
            "global": everywhere,
            "mon.a": {"mon_data": f"{where}/mon"},
            "osd.0": {"osd_data": f"{where}/osd"},
            "client.rgw.a": {"rgw_frontends": f"beast endpoint=127.0.0.1:{ports[2]}"},
        }
        lines = []
        for section, options in sections.items():
            lines += [f"[{section}]", *(f"{name} = {value}" for name, value in options.items())]
        self._config.write_text("\n".join(lines) + "\n")

    def _program(self, name: str) -> str:
        return str(self._root / "usr/bin" / name)

    def _run(self, program: str, *arguments: str | Path) -> None:
        self._do(self._program(program), "-c", self._config, *arguments)

    def _do(self, *call: str | Path) -> None:
        done = subprocess.run(
            call,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_S,
            env=self._environment,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise RuntimeError(f"{call[0]} failed: {said[-2000:]}")

    def _serve(self, program: str, *arguments: str) -> None:
        with (self._directory / "log" / f"{program}.out").open("wb") as said:
            process = subprocess.Popen(
                [self._program(program), "-c", self._config, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        self._started.append(process)

    def _await(self, port: int) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            if any(process.poll() is not None for process in self._started):
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.1)
        said = "\n".join(
            path.read_text(errors="replace")[-500:] for path in self._directory.glob("log/*.out")
        )
        raise RuntimeError(f"Ceph's gateway did not start: {said}")


def _free_ports(count: int) -> list[int]:
    """Ports below those that a system gives to outgoing connections (Linux: from 32768).

    One of those may be given away again before Ceph listens to it.
    """
    with contextlib.ExitStack() as open_sockets:
        found: list[int] = []
        while len(found) < count:
            port = 10_000 + secrets.randbelow(20_000)
            one = open_sockets.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
        return found
