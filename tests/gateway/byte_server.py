# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of bytes: each connection is a list of what it says after each request."""

import asyncio
from contextlib import asynccontextmanager


class Server:
    """says: for each connection, its answers; an answer is bytes, or a list of bytes and pauses."""

    def __init__(self, *says):
        self.says, self.heard, self.connections = list(says), [], 0

    async def speak(self, reader, writer):
        self.connections += 1
        try:
            for answer in self.says.pop(0) if self.says else ():
                head = await reader.readuntil(b"\r\n\r\n")
                at = head.lower().find(b"content-length:")
                size = int(head[at + 15 :].split(b"\r")[0]) if at > 0 else 0
                if answer == "at once":
                    writer.write(b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n")
                    await asyncio.sleep(0.3)
                    break
                self.heard.append(head + await reader.readexactly(size))
                for piece in answer if isinstance(answer, list) else [answer]:
                    if isinstance(piece, float):
                        await asyncio.sleep(piece)
                    else:
                        writer.write(piece)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(server, **options):
    """The URL of a server on a port of this machine."""
    listening = await asyncio.start_server(server.speak, "127.0.0.1", 0, **options)
    kind = "https" if options.get("ssl") else "http"
    try:
        yield f"{kind}://localhost:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await listening.wait_closed()
