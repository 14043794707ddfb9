# SPDX-License-Identifier: GPL-3.0-or-later
"""POSTs written byte by byte, for what no HTTP client would send."""

import socket
from urllib.parse import urlsplit

CHUNKED = b"Transfer-Encoding: chunked\r\n"


def connect(service):
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def head(service, path, *lines):
    start = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.pipeline}\r\n"
    return start.encode() + b"".join(lines) + b"\r\n"


def express(service, data):
    return head(service, "/v1/events", b"Content-Length: %d\r\n" % len(data)) + data


def ordinary(service, data):
    return head(service, "/v1/events", CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


def answers(sock, count):
    """Read so many answers: status and body of each."""
    found, data = [], b""
    while len(found) < count:
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            header = data[:end].lower()
            length = int(header.split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(data) >= end + 4 + length:
                found.append((int(header[9:12]), data[end + 4 : end + 4 + length]))
                data = data[end + 4 + length :]
                continue
        chunk = sock.recv(65_536)
        if not chunk:
            break
        data += chunk
    return found
