"""The application: routes, errors, the page's own files, and the guard before all of them."""

import asyncio
import inspect
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import escape
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic.fields import FieldInfo
from starlette.exceptions import HTTPException as StarletteHTTPException

from evenface.app import catalogue as describing
from evenface.app.access import REPORT_POLICY, AccessPolicy, Guard, problem
from evenface.app.catalogue import Catalogue, Entry, Kind
from evenface.app.jobs import BusyError, Job, Jobs
from evenface.app.predict_job import Keeper, PredictRequest, suffix_of
from evenface.app.schemas import About, ChosenResponse, Detail, Error, Id, StudyDetail, StudySummaryResponse
from evenface.app.schemas import CatalogueResponse as Found
from evenface.app.schemas import JobResponse as Shown
from evenface.config.limits import Limits
from evenface.config.predict import PredictSettings
from evenface.config.yaml import checked
from evenface.reporting.model_card import STATEMENT
from evenface.runs import REPORT
from evenface.utils.errors import InputError
from evenface.utils.version import __version__

LONGEST_WAIT = 20.0
"""Seconds that a request may wait for a job."""
PIECE = 1 << 20
TABLE = re.compile(r"[\w.-]{1,120}\.(csv|tex)")
PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}}, "description": "A page."}}
TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}, "description": "A file."}}
Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for its end before the answer.")]
ANSWERS: dict[int | str, dict[str, Any]] = {
    code: {"model": Error, "description": said}
    for code, said in {
        400: "It cannot be done; the error says why.",
        401: "The token is missing or wrong.",
        403: "It comes from another page.",
        404: "There is none.",
        413: "It is too large.",
        421: "The server does not answer to that name.",
        422: "The request is not of the form that is described here.",
        429: "Too many jobs wait.",
        500: "Something went wrong inside.",
    }.items()
}


def _router() -> APIRouter:
    return APIRouter(prefix="/api/v1", responses=ANSWERS)


def _entry(catalogue: Catalogue, key: str, *kinds: Kind) -> Entry:
    found = catalogue.get(key, *kinds)
    if found is None:
        what = "study" if kinds == ("study",) else "model"
        raise HTTPException(404, f"There is no {what} of that id")
    return found


def listing(catalogue: Catalogue, limits: Limits, *, keeps: bool) -> APIRouter:
    """Make the routes that only look."""
    router = _router()

    @router.get("/about", tags=["look"])
    def about() -> About:
        """Say what serves here, and what it refuses."""
        said = {name: float(value) for name, value in limits.model_dump(exclude={"trust_plugins"}).items()}
        return About(version=__version__, statement=STATEMENT, limits=said, keeps=keeps)

    @router.get("/models", tags=["look"])
    def models() -> Found:
        """List runs, files of models, and studies."""
        entries = list(catalogue.entries().values())
        found = [describing.listed(entry) for entry in entries if entry.kind != "study"]
        studies = [describing.short(describing.studied(entry, catalogue)) for entry in entries if entry.kind == "study"]
        return Found(models=[one for one in found if one is not None], studies=studies)

    @router.get("/models/{key}", tags=["look"])
    def model(key: Id) -> Detail:
        """Say all that is known of a model."""
        return describing.detail(_entry(catalogue, key, "run", "file"))

    @router.get("/studies", tags=["look"])
    def studies() -> list[StudySummaryResponse]:
        """List studies."""
        return models().studies

    @router.get("/studies/{key}", tags=["look"])
    def study(key: Id) -> StudyDetail:
        """Give the table of a study."""
        return describing.studied(_entry(catalogue, key, "study"), catalogue)

    @router.get("/models/{key}/report.html", tags=["look"], response_class=Response, responses=PAGE)
    def model_report(key: Id) -> Response:
        """Give the report of a run."""
        return _report(_entry(catalogue, key, "run"))

    @router.get("/studies/{key}/report.html", tags=["look"], response_class=Response, responses=PAGE)
    def study_report(key: Id) -> Response:
        """Give the report of a study."""
        return _report(_entry(catalogue, key, "study"))

    @router.get("/models/{key}/tables/{name}", tags=["look"], response_class=Response, responses=TEXT)
    def model_table(key: Id, name: str) -> Response:
        """Give a table of a run's report."""
        return _table(_entry(catalogue, key, "run"), name)

    @router.get("/studies/{key}/tables/{name}", tags=["look"], response_class=Response, responses=TEXT)
    def study_table(key: Id, name: str) -> Response:
        """Give a table of a study's report."""
        return _table(_entry(catalogue, key, "study"), name)

    return router


def _report(entry: Entry) -> Response:
    path = entry.file(REPORT)
    if path is None:
        raise HTTPException(404, "There is no report")
    return HTMLResponse(path.read_bytes(), headers={"content-security-policy": REPORT_POLICY})


def _table(entry: Entry, name: str) -> Response:
    # Only names without a separator: nothing else that a request says becomes part of a path.
    path = entry.file("tables", name) if TABLE.fullmatch(name) else None
    if path is None:
        raise HTTPException(404, "There is no table of that name")
    return FileResponse(path, media_type="text/plain; charset=utf-8", filename=name)


def _predict_settings(**values: Any) -> PredictSettings:
    return checked(PredictSettings, values, "predict")


def _form_field(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata, Form(description=field.description)]


# FastAPI reads from the signature which fields a form has: those of the settings model.
vars(_predict_settings)["__signature__"] = inspect.Signature(
    [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=_form_field(field))
        for name, field in PredictSettings.model_fields.items()
        if name != "batch"
    ]
)


def working(catalogue: Catalogue, jobs: Jobs, keeper: Keeper | None) -> APIRouter:
    """Make the routes of jobs."""
    router = _router()

    @router.post("/predictions", status_code=202, tags=["work"])
    async def predict(
        file: Annotated[UploadFile, File(description="A picture, a video, or a file of numbers.")],
        model: Annotated[Id, Form(description="Id of a run or a file.")],
        settings: Annotated[PredictSettings, Depends(_predict_settings)],
        explain: Annotated[bool, Form(description="Also say what spoke for each class.")] = False,
        wait: Wait = 0.0,
    ) -> Shown:
        """Judge the faces of an upload. The answer is a job; its result is there when it is done."""
        entry = await asyncio.to_thread(_entry, catalogue, model, "run", "file")
        folder = jobs.upload_folder()
        try:
            path = folder / f"upload{suffix_of(file.filename or '')}"
            with path.open("wb") as target:
                while piece := await file.read(PIECE):
                    target.write(piece)
            keep = None if keeper is None else keeper.of(file.filename or "")
            job = jobs.add(
                Job(
                    "prediction",
                    PredictRequest(entry, path, settings.model_dump(exclude={"batch"}), explain),
                    folder,
                    keep,
                )
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return await _waited(jobs, job, wait)

    @router.post("/comparisons", status_code=202, tags=["work"])
    async def compare(chosen: ChosenResponse, wait: Wait = 0.0) -> Shown:
        """Compare runs on the same test samples. The answer is a job; its result is there when it is done."""
        entries = await asyncio.to_thread(lambda: tuple(_entry(catalogue, key, "run") for key in chosen.models))
        return await _waited(jobs, jobs.add(Job("comparison", entries)), wait)

    @router.get("/jobs/{key}", tags=["work"])
    async def job(key: Id, wait: Wait = 0.0) -> Shown:
        """Say how far a job is, and what came of it."""
        return await _waited(jobs, _job(jobs, key), wait)

    @router.delete("/jobs/{key}", tags=["work"])
    def drop(key: Id) -> Shown:
        """Give a job up, or forget its result."""
        found = _job(jobs, key)
        jobs.drop(found)
        return jobs.shown(found)

    return router


def _job(jobs: Jobs, key: str) -> Job:
    found = jobs.get(key)
    if found is None:
        raise HTTPException(404, "There is no job of that id; ended ones are forgotten after a while")
    return found


async def _waited(jobs: Jobs, job: Job, seconds: float) -> Shown:
    """Wait for the end of a job, but not when the server shall end."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not job.ended.is_set() and loop.time() < until and not jobs.stopping:
        await asyncio.sleep(0.02)
    return jobs.shown(job)


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
    save_uploads: Path | None = None,
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
    save_uploads : Path, optional
        Folder to save uploads and results to. By default neither is saved.

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
        version=__version__,
        description=f"Facial expression and pain from pictures, videos and files of numbers.\n\n{STATEMENT}",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.jobs, app.state.limits = jobs, limits
    app.include_router(listing(catalogue, limits, keeps=save_uploads is not None))
    app.include_router(working(catalogue, jobs, None if save_uploads is None else Keeper(save_uploads)))
    app.include_router(_pages())
    _errors(app)
    app.add_middleware(Guard, door=AccessPolicy(host, token, limits.upload))
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
