"""The application: routes, errors, the page's own files, and the guard before all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

import evenface
from evenface.app.catalogue import Catalogue
from evenface.app.guard import Door, Guard
from evenface.app.jobs import BusyError, Jobs
from evenface.app.keeping import Keeper
from evenface.app.routes import listing, working
from evenface.app.telling import problem
from evenface.cards.limits import STATEMENT
from evenface.errors import InputError
from evenface.recipes.limits import Limits

KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def create_app(
    catalogue: Catalogue,
    *,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    token: str = "",
    keep: Path | None = None,
) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    catalogue : Catalogue
        Runs, studies and files of models.
    limits : Limits, optional
        What is refused.
    host : str
        What the server is bound to.
    token : str
        What has to be shown; empty means nothing.
    keep : Path, optional
        Folder for uploads and results. By default neither is kept.

    Returns
    -------
    FastAPI
        Its ``state.jobs`` are the jobs. They end with its lifespan.
    """
    limits = limits or Limits()
    jobs = Jobs(limits)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(jobs.close)

    app = FastAPI(
        title="evenface",
        version=evenface.__version__,
        description=f"Facial expression and pain from pictures, videos and files of numbers.\n\n{STATEMENT}",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.jobs, app.state.limits = jobs, limits
    app.include_router(listing(catalogue, limits, keeps=keep is not None))
    app.include_router(working(catalogue, jobs, None if keep is None else Keeper(keep)))
    app.include_router(_pages())
    _errors(app)
    app.add_middleware(Guard, door=Door(host, token, limits.upload))
    return app


def _pages() -> APIRouter:
    """Make the routes of the page's own files; they are known by name, so that no other can be asked for."""
    router = APIRouter(include_in_schema=False)
    folder = resources.files("evenface.app").joinpath("page")
    files = {one.name: one for one in folder.iterdir() if one.name.rpartition(".")[2] in KINDS}

    def page(name: str) -> Callable[[], Response]:
        kind = KINDS[name.rpartition(".")[2]]
        return lambda: Response(_with_statement(files[name].read_bytes()), media_type=kind)

    for name in files:
        router.add_api_route("/" if name == "index.html" else f"/page/{name}", page(name), methods=["GET", "HEAD"])
    return router


def _with_statement(content: bytes) -> bytes:
    return content.replace(b"{{ statement }}", escape(STATEMENT).encode())


def _errors(app: FastAPI) -> None:
    """Answer every failure in the same form."""

    def answer(status: int, what: str, do: str) -> JSONResponse:
        return JSONResponse({"error": {"what": what, "do": do}}, status)

    @app.exception_handler(StarletteHTTPException)
    def refused(_request: Request, error: StarletteHTTPException) -> JSONResponse:
        said = {404: "There is nothing at this address", 405: "This address does not take that method"}
        usual = {"Not Found": 404, "Method Not Allowed": 405}
        what = said[usual[error.detail]] if error.detail in usual else error.detail
        found = answer(error.status_code, what, "See /openapi.json.")
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(RequestValidationError)
    def malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = (error.errors() or [{}])[0]
        place = ".".join(str(part) for part in first.get("loc", ())[1:] if isinstance(part, str))
        return answer(422, f"{place or 'request'}: {first.get('msg', 'not understood')}", "See /openapi.json.")

    @app.exception_handler(InputError)
    def unusable(_request: Request, error: InputError) -> JSONResponse:
        return answer(400, **problem(error))

    @app.exception_handler(BusyError)
    def busy(_request: Request, _error: BusyError) -> JSONResponse:
        return answer(429, "Too many jobs wait", "Try again when some have ended.")

    @app.exception_handler(Exception)
    def failed(_request: Request, error: Exception) -> JSONResponse:
        return answer(500, **problem(error))
