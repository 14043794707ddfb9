# SPDX-License-Identifier: GPL-3.0-or-later
"""A time-stamping authority over real HTTP that behaves as a test tells it, and counts."""

import time

from minting import reply
from stamp_server import recipe_for, send


class Moody:
    """An authority that behaves as it is told; it counts the tokens that it made."""

    def __init__(self):
        self.mood, self.made, self.asked = "honest", 0, []
        self.slow_s = 0.0

    def respond(self, handler, query):
        self.asked.append(query)
        mood = self.mood
        time.sleep(self.slow_s)
        if mood == "error":
            send(handler, b"out of order", status=500, kind="text/plain")
            return
        token = reply(recipe_for(query))
        self.made += 1
        if mood == "lost":
            handler.close_connection = True
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\n")
            return
        if mood == "cut off":
            handler.send_response(200)
            handler.send_header("Content-Type", "application/timestamp-reply")
            handler.send_header("Content-Length", str(len(token)))
            handler.end_headers()
            handler.wfile.write(token[:100])
            return
        send(handler, b"\x30\x03\x02\x01\x00" if mood == "garbage" else token)
