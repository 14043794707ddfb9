# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP application: routes, one handler for errors, health, and the OpenAPI document."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from ledger.errors import FieldError, LedgerError, MalformedEvent, NotFound, Refused
from starlette.exceptions import HTTPException

from api import content, health, packets, problems, public
from api.ingest import Asgi, Ingest
from api.openapi import describe
from api.state import State


class MethodRefused(Refused):
    """This path does not take that method."""

    status = 405
    problem = "method-not-allowed"


def create_app(state: State, *, on_ready: Callable[[], None] = lambda: None) -> Asgi:
    """Return the ASGI application; `on_ready` runs when it is about to answer."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        on_ready()
        yield
        state.shelf.close()

    app = FastAPI(
        title="Sealtrail",
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.sealtrail = state
    for prefix in ("/v1", "/v1/books/{book}"):
        app.include_router(public.router, prefix=prefix)
        app.include_router(content.router, prefix=prefix)
        app.include_router(packets.router, prefix=prefix)
    # C2SP tlog-tiles: the same documents without a version in the path.
    app.add_api_route("/checkpoint", public.checkpoint, include_in_schema=False)
    app.add_api_route("/tile/{path:path}", content.tile, include_in_schema=False)
    app.include_router(health.router)
    app.add_exception_handler(LedgerError, _ledger_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return Ingest(state.shelf, state.credentials, app)


async def _ledger_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, LedgerError):  # Cannot be: registered for LedgerError only.
        raise error
    status, headers, body = problems.response(error)
    return Response(
        body, status_code=status, headers={name.decode(): value.decode() for name, value in headers}
    )


async def _validation_error(request: Request, error: Exception) -> Response:
    """Translate the framework's complaint: pointer and rule, never the value."""
    if not isinstance(error, RequestValidationError):
        raise error
    fields = [
        FieldError(
            "/" + "/".join(str(part) for part in item["loc"]), item["type"], "breaks this rule"
        )
        for item in error.errors()
    ]
    return await _ledger_error(request, MalformedEvent(errors=fields))


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        return await _ledger_error(request, MethodRefused())
    return await _ledger_error(request, NotFound("there is nothing at this path"))


def openapi_text(app: Any) -> str:
    """Return the OpenAPI document as it is kept in docs/openapi.json."""
    return json.dumps(describe(app), indent=1, sort_keys=True) + "\n"

