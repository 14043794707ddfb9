# SPDX-License-Identifier: Apache-2.0
"""Providers' wire formats, read: what was asked, what came of it. Nothing here opens a connection.

exchange.py    what every format is read into, and what every reader of one has to do
bodies.py      requests in JSON and in parts, without holding an upload in memory
sse.py         streams of events, whose last one is kept back until the outcome is on record
registry.py    a reader by its name
"""
