# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP application: routes, handlers for errors, and the OpenAPI document.

POST of events ──► Ingest        everything else ──► Door ──► the framework's routes
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api import (
    absence,
    alerts,
    artifacts,
    cap_packs,
    cloudevents,
    completeness,
    content,
    cose_receipts,
    datasets,
    disclosing,
    erasures,
    health,
    holds,
    lineage,
    openlineage,
    packets,
    problems,
    public,
    redacted,
    registers,
    retrievals,
    reviews,
    schemas,
    search,
    similar,
    sources,
    usage,
)
from api.checkers import Checkers
from api.door import Door
from api.ingest import Ingest
from api.openapi import describe
from api.state import State
from api.translated import asked
from ledger.errors import LedgerError

#: Threads that may wait for the database on behalf of the ingest route.
_THREADS: Final = 32

#: Telemetry of the framework would record values of requests; it is off, all of it.
_SILENT: Final[Any] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def create_app(state: State, *, on_ready: Callable[[], None] = lambda: None) -> Ingest:
    """Return the ASGI application; `on_ready` runs when it is about to answer."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        await checkers.start()
        on_ready()
        yield
        checkers.close()
        state.shelf.close()

    checkers = Checkers(state.checkers)
    return Ingest(
        state.shelf,
        state.credentials,
        checkers,
        Door(routes(state, lifespan)),
        link_check=state.link_check,
    )


def routes(state: State | None = None, lifespan: Any = None) -> FastAPI:
    """Return the framework's application; without a state it can only describe itself."""
    app = FastAPI(
        title="Sealtrail",
        version="0.1.0",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        telemetry=_SILENT,
        generate_unique_id_function=_operation_id,
    )
    app.state.sealtrail = state
    for prefix in ("/v1", "/v1/books/{book}"):
        app.include_router(public.router, prefix=prefix)
        app.include_router(cose_receipts.router, prefix=prefix)
        app.include_router(cloudevents.router, prefix=prefix)
        app.include_router(openlineage.router, prefix=prefix)
        app.include_router(content.router, prefix=prefix)
        app.include_router(lineage.router, prefix=prefix)
        app.include_router(usage.router, prefix=prefix)
        app.include_router(registers.router, prefix=prefix)
        app.include_router(completeness.router, prefix=prefix)
        app.include_router(sources.router, prefix=prefix)
        app.include_router(disclosing.router, prefix=prefix)
        app.include_router(redacted.router, prefix=prefix)
        app.include_router(packets.router, prefix=prefix)
        app.include_router(cap_packs.router, prefix=prefix)
        app.include_router(artifacts.router, prefix=prefix)
        app.include_router(holds.router, prefix=prefix)
        app.include_router(erasures.router, prefix=prefix)
        app.include_router(retrievals.router, prefix=prefix)
        app.include_router(search.router, prefix=prefix)
        app.include_router(alerts.router, prefix=prefix)
        app.include_router(datasets.router, prefix=prefix)
        app.include_router(absence.router, prefix=prefix)
        app.include_router(similar.router, prefix=prefix)
        app.include_router(reviews.router, prefix=prefix)
    _add_unversioned(app)
    app.add_exception_handler(LedgerError, _ledger_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def _add_unversioned(app: FastAPI) -> None:
    """Add the paths that others have fixed, and those that are of no Book."""
    # C2SP tlog-tiles: the same documents without a version in the path.
    app.add_api_route("/checkpoint", public.checkpoint, tags=["tlog-tiles"])
    app.add_api_route("/tile/{path:path}", content.tile, tags=["tlog-tiles"])
    # OpenLineage's clients add this path to the address that they are given.
    app.add_api_route(
        "/api/v1/lineage",
        openlineage.openlineage,
        methods=["POST"],
        name="lineage",
        response_class=Response,
        status_code=201,
        openapi_extra=asked("application/json"),
        tags=["ingest"],
    )
    app.include_router(schemas.router)
    app.include_router(health.router)


def _operation_id(route: APIRoute) -> str:
    """Name an operation after its function, and its path where there are several."""
    if route.path.startswith("/v1/books/"):
        return f"{route.name}_of_book"
    return f"{route.name}_tlog" if "tlog-tiles" in route.tags else route.name


def _answer(error: LedgerError) -> Response:
    status, headers, body = problems.response(error)
    return Response(
        body, status_code=status, headers={name.decode(): value.decode() for name, value in headers}
    )


async def _ledger_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, LedgerError):  # Cannot be: registered for LedgerError only.
        raise error
    return _answer(error)


async def _validation_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return _answer(problems.of_validation(error))


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _answer(problems.of_framework(error))


async def _bug(_: Request, __: Exception) -> Response:
    return _answer(problems.InternalError())  # It is raised again, and told by api.door.


def openapi_text() -> str:
    """Return the OpenAPI document as it is kept in docs/openapi.json."""
    return json.dumps(describe(routes()), indent=1, sort_keys=True) + "\n"
