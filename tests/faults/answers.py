# SPDX-License-Identifier: GPL-3.0-or-later
"""What a caller of a served house is answered while something fails, and afterwards."""

from dev_ledger import eventually


def is_ready(service):
    return service.ask("GET", "/readyz").status_code == 200


def refused(service, request):
    """Post what must be answered 503, with a word on when to come again; return the problem."""
    answer = service.post(request)
    assert answer.status_code == 503, answer.text[:300]
    assert int(answer.headers["retry-after"]) >= 1
    return answer.json()["code"]


def kept(service, request):
    """Post again until it is acknowledged; return the receipt, which must stay the same."""
    eventually(lambda: service.post(request).status_code in (200, 201))
    first, second = service.post(request), service.post(request)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["position"] == second.json()["position"]
    return first.json()
