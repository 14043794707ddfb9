# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends Ceph's monitor one command, as the program `ceph` would; that one needs Debian's Python.

python ceph_monitor.py CONFIG JSON          with librados on the library path
"""

import ctypes
import sys


def main(config, command):
    rados = ctypes.CDLL("librados.so.2")
    cluster = ctypes.c_void_p()
    steps = (
        lambda: rados.rados_create(ctypes.byref(cluster), None),
        lambda: rados.rados_conf_read_file(cluster, config.encode()),
        lambda: rados.rados_conf_set(cluster, b"client_mount_timeout", b"60"),
        lambda: rados.rados_connect(cluster),
    )
    for step in steps:
        if step() != 0:
            raise SystemExit("the monitor does not answer")
    lines = (ctypes.c_char_p * 1)(command.encode())
    answers = (ctypes.c_char_p(), ctypes.c_size_t(), ctypes.c_char_p(), ctypes.c_size_t())
    done = rados.rados_mon_command(
        cluster,
        lines,
        ctypes.c_size_t(1),
        None,
        ctypes.c_size_t(0),
        *(ctypes.byref(one) for one in answers),
    )
    rados.rados_shutdown(cluster)
    if done != 0:
        raise SystemExit(f"the monitor refused: {done}")


if __name__ == "__main__":
    main(*sys.argv[1:])
