# SPDX-License-Identifier: GPL-3.0-or-later
"""A model on this machine that takes a fixed time to answer: `python bench/model.py MILLISECONDS`.

It prints its port. A request whose body holds `"stream"` is answered in twenty events and [DONE],
any other with one picture in JSON. It costs little, so that what is measured is the gateway.
"""

import asyncio
import base64
import json
import os
import sys

PICTURE = base64.b64encode(os.urandom(24_000)).decode()
WHOLE = json.dumps({"created": 1, "data": [{"b64_json": PICTURE}], "usage": {}}).encode()
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench-model"}


def event(text: str | None) -> bytes:
    delta = {"content": text} if text else {}
    choice = {"index": 0, "delta": delta, "finish_reason": None if text else "stop"}
    data = f"data: {json.dumps({**CHUNK, 'choices': [choice]})}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENTS = [event(f"word {number} ") for number in range(20)]
END = event(None) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: bench\r\ncontent-type: "


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait_s: float) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 : head.index(b"\r\n", at)]) if at > 0 else 0
            body = await reader.readexactly(size)
            if b'"stream"' in body:
                writer.write(HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                for piece in EVENTS:
                    await asyncio.sleep(wait_s / len(EVENTS))
                    writer.write(piece)
                writer.write(END)
            else:
                await asyncio.sleep(wait_s)
                writer.write(
                    HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE) + WHOLE
                )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(milliseconds: float) -> None:
    server = await asyncio.start_server(
        lambda r, w: serve(r, w, milliseconds / 1000), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
