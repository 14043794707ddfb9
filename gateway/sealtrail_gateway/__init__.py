# SPDX-License-Identifier: Apache-2.0
"""The gateway: an application changes one base URL, and every call of a model is on record.

settings.py   what it is told: ledger, upstreams with their credentials, callers, limits
callers.py    which natural person is behind a request
policies.py   what is refused before a model is called, and after it answered
record.py     events to the ledger
spool.py      requests on their way, without holding an upload in memory
relay.py      one call: attempt, model, outcome, and only then the answer
streams.py    the same for an answer in events
http.py       ASGI: routes, health, errors in each provider's own shape
doctor.py     proves that nothing goes through while the ledger is away
"""
