# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in a real ledger that a program has recorded to."""

MODEL = "acme/painter@3.1"
PROMPT = "a lighthouse in the fog"


def entries(service):
    reader = service.house.book.reader
    return [one.entry.value for one in reader.between(0, service.size)]


def types(service):
    return [entry["type"] for entry in entries(service)]
