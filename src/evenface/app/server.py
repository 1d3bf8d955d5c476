"""The web server: routes of the HTTP API, error responses, files of the page, start and stop."""

import asyncio
import inspect
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from html import escape
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, get_args

import python_multipart  # noqa: F401  FastAPI reads forms with it and would fail later without it
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic.fields import FieldInfo
from starlette.exceptions import HTTPException as StarletteHTTPException

from evenface.app import catalogue as entries
from evenface.app.access import REPORT_POLICY, AccessPolicy, Guard, TimedProtocol
from evenface.app.catalogue import Catalogue, Entry, Kind
from evenface.app.jobs import Job, Jobs, QueueFullError
from evenface.app.predict_job import PredictRequest, UploadStorage, known_suffix
from evenface.app.schemas import (
    CatalogueResponse,
    CompareRequest,
    ErrorResponse,
    Health,
    Id,
    JobResponse,
    ModelDetail,
    ServerInfo,
    StudyDetail,
    StudySummaryResponse,
    error_message,
)
from evenface.config.limits import Limits
from evenface.config.predict import PredictSettings
from evenface.config.yaml import checked
from evenface.data.manifest import TaskKind
from evenface.evaluation.metric_registry import METRICS, headline_of
from evenface.inference.registry import available_models
from evenface.reporting.model_card import STATEMENT
from evenface.runs import REPORT
from evenface.utils import __version__
from evenface.utils.errors import InputError

LONGEST_WAIT = 20.0
"""Seconds that a request may wait for a job."""
CHUNK = 1 << 20
TABLE = re.compile(r"[\w.-]{1,120}\.(csv|tex)")
HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}}, "description": "HTML page."}}
TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}, "description": "File."}}
Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for the job before responding.")]
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorResponse, "description": description}
    for code, description in {
        400: "Invalid request; the error states the reason.",
        401: "The token is missing or wrong.",
        403: "Cross-origin request.",
        404: "Not found.",
        413: "The request is too large.",
        421: "Unknown host name.",
        422: "The request does not match the schema.",
        429: "The job queue is full.",
        500: "Internal error.",
        503: "The server accepts no jobs.",
    }.items()
}


def _router() -> APIRouter:
    return APIRouter(prefix="/api/v1", responses=ERRORS)


def _entry(catalogue: Catalogue, key: str, *kinds: Kind) -> Entry:
    entry = catalogue.get(key, *kinds)
    if entry is None:
        raise HTTPException(404, f"There is no {'study' if kinds == ('study',) else 'model'} with this id")
    return entry


def _health_routes(jobs: Jobs) -> APIRouter:
    router = _router()

    @router.get("/health", tags=["browse"])
    def health() -> Health:
        """Return whether the server accepts jobs. This address needs no token."""
        if not jobs.running:
            raise HTTPException(503, "The server accepts no jobs")
        return Health()

    return router


def browse_routes(catalogue: Catalogue, limits: Limits, *, keeps: bool) -> APIRouter:
    """Build the read-only routes."""
    router = _router()

    @router.get("/about", tags=["browse"])
    def about() -> ServerInfo:
        """Return version, limits and the labels of metrics."""
        values = {name: float(value) for name, value in limits.model_dump(exclude={"trust_plugins"}).items()}
        return ServerInfo(
            version=__version__,
            statement=STATEMENT,
            limits=values,
            metrics={name: metric.label for name, metric in METRICS.items()},
            headline={task: list(headline_of(task)) for task in get_args(TaskKind)},
            keeps=keeps,
        )

    @router.get("/models", tags=["browse"])
    def models() -> CatalogueResponse:
        """List runs, exported models and studies."""
        known = list(catalogue.entries().values())
        summaries = [entries.model_summary(entry) for entry in known if entry.kind != "study"]
        studies = [entries.study_summary(entry, catalogue) for entry in known if entry.kind == "study"]
        return CatalogueResponse(models=[summary for summary in summaries if summary is not None], studies=studies)

    @router.get("/models/{key}", tags=["browse"])
    def model(key: Id) -> ModelDetail:
        """Return the details of a model."""
        return entries.model_detail(_entry(catalogue, key, "run", "file"))

    @router.get("/studies", tags=["browse"])
    def studies() -> list[StudySummaryResponse]:
        """List studies."""
        return models().studies

    @router.get("/studies/{key}", tags=["browse"])
    def study(key: Id) -> StudyDetail:
        """Return a study with its table."""
        return entries.study_detail(_entry(catalogue, key, "study"), catalogue)

    @router.get("/models/{key}/report.html", tags=["browse"], response_class=Response, responses=HTML)
    def model_report(key: Id) -> Response:
        """Return the report of a run."""
        return _report(_entry(catalogue, key, "run"))

    @router.get("/studies/{key}/report.html", tags=["browse"], response_class=Response, responses=HTML)
    def study_report(key: Id) -> Response:
        """Return the report of a study."""
        return _report(_entry(catalogue, key, "study"))

    @router.get("/models/{key}/tables/{name}", tags=["browse"], response_class=Response, responses=TEXT)
    def model_table(key: Id, name: str) -> Response:
        """Return a table of a run's report."""
        return _table(_entry(catalogue, key, "run"), name)

    @router.get("/studies/{key}/tables/{name}", tags=["browse"], response_class=Response, responses=TEXT)
    def study_table(key: Id, name: str) -> Response:
        """Return a table of a study's report."""
        return _table(_entry(catalogue, key, "study"), name)

    return router


def _report(entry: Entry) -> Response:
    path = entry.file(REPORT)
    if path is None:
        raise HTTPException(404, "There is no report")
    return HTMLResponse(path.read_bytes(), headers={"content-security-policy": REPORT_POLICY})


def _table(entry: Entry, name: str) -> Response:
    # Only names without a separator: no other part of a request becomes part of a path.
    path = entry.file("tables", name) if TABLE.fullmatch(name) else None
    if path is None:
        raise HTTPException(404, "There is no table with this name")
    return FileResponse(path, media_type="text/plain; charset=utf-8", filename=name)


PAGE_DEFAULTS: dict[str, str | int] = {"frame_stride": 3}
"""Defaults of the page's form that differ from those of the API: it answers sooner on videos."""
HIDDEN = {"batch", "tracking", "person_baseline"}
"""Settings that a request cannot change; a person baseline is uploaded, so that no path is read."""


def _predict_settings(**values: Any) -> PredictSettings:
    return checked(PredictSettings, values, "predict")


def _form_field(name: str, field: FieldInfo) -> Any:
    extra = dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}
    if name in PAGE_DEFAULTS:
        extra["page_default"] = PAGE_DEFAULTS[name]
    return Annotated[field.annotation, *field.metadata, Form(description=field.description, json_schema_extra=extra)]


# FastAPI reads the form fields from the signature: those of the settings model. The page builds its form from them.
vars(_predict_settings)["__signature__"] = inspect.Signature(
    [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=_form_field(name, field)
        )
        for name, field in PredictSettings.model_fields.items()
        if name not in HIDDEN
    ]
)


def job_routes(catalogue: Catalogue, jobs: Jobs, storage: UploadStorage | None) -> APIRouter:
    """Build the routes that start, watch and cancel jobs."""
    router = _router()

    @router.post("/predictions", status_code=202, tags=["jobs"])
    async def predict(
        file: Annotated[UploadFile, File(description="An image, a video, or a feature file.")],
        model: Annotated[Id, Form(description="Id of a run or an exported model.")],
        settings: Annotated[PredictSettings, Depends(_predict_settings)],
        explain: Annotated[bool, Form(description="show saliency maps for each class (slower)")] = False,
        baseline: Annotated[
            UploadFile | None,
            File(description="Person baseline: a file of the same person, for models trained with one."),
        ] = None,
        wait: Wait = 0.0,
    ) -> JobResponse:
        """Predict on an uploaded file. The response is a job, which holds the result when it is done."""
        entry = await asyncio.to_thread(_entry, catalogue, model, "run", "file")
        folder = jobs.upload_folder()
        name = file.filename or ""
        try:
            path = await _saved(file, folder, "upload")
            reference = None if baseline is None else await _saved(baseline, folder, "baseline")
            request = PredictRequest(entry, path, settings.model_dump(exclude=HIDDEN), explain, reference)
            job = jobs.add(Job("prediction", request, folder, storage.saver(name) if storage else None))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return await _response(jobs, job, wait)

    @router.post("/comparisons", status_code=202, tags=["jobs"])
    async def compare(request: CompareRequest, wait: Wait = 0.0) -> JobResponse:
        """Compare runs on the same test samples. The response is a job, which holds the result when it is done."""
        runs = await asyncio.to_thread(lambda: tuple(_entry(catalogue, key, "run") for key in request.models))
        return await _response(jobs, jobs.add(Job("comparison", runs)), wait)

    @router.get("/jobs/{key}", tags=["jobs"])
    async def job(key: Id, wait: Wait = 0.0) -> JobResponse:
        """Return state, progress and result of a job."""
        return await _response(jobs, _job(jobs, key), wait)

    @router.delete("/jobs/{key}", tags=["jobs"])
    def cancel(key: Id) -> JobResponse:
        """Cancel a job, or delete its result."""
        job = _job(jobs, key)
        jobs.cancel(job)
        return jobs.response(job)

    return router


async def _saved(file: UploadFile, folder: Path, stem: str) -> Path:
    """Write an uploaded file into a folder; of its name, only a known suffix is kept."""
    path = folder / f"{stem}{known_suffix(file.filename or '')}"
    with path.open("wb") as target:
        while chunk := await file.read(CHUNK):
            target.write(chunk)
    return path


def _job(jobs: Jobs, key: str) -> Job:
    job = jobs.get(key)
    if job is None:
        raise HTTPException(404, "There is no job with this id; finished jobs are deleted after a while")
    return job


async def _response(jobs: Jobs, job: Job, seconds: float) -> JobResponse:
    """Wait until a job has ended, the time is over, or the server stops."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not job.ended.is_set() and loop.time() < deadline and not jobs.stopping:
        await asyncio.sleep(0.02)
    return jobs.response(job)


MEDIA_TYPES = {
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
    """Create the web application.

    Parameters
    ----------
    catalogue : Catalogue
        Runs, studies and exported models.
    limits : Limits, optional
        Resource limits.
    host : str
        Address that the server is bound to.
    token : str
        Token that clients must send; empty for none.
    save_uploads : Path, optional
        Folder to save uploads and results to. By default neither is saved.

    Returns
    -------
    FastAPI
        With the jobs in ``state.jobs``, which end with its lifespan.
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
        description=f"Facial expression and pain recognition on images, videos and feature files.\n\n{STATEMENT}",
        docs_url=None,  # these pages would load scripts from other servers
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.jobs, app.state.limits = jobs, limits
    app.include_router(browse_routes(catalogue, limits, keeps=save_uploads is not None))
    app.include_router(job_routes(catalogue, jobs, None if save_uploads is None else UploadStorage(save_uploads)))
    app.include_router(_health_routes(jobs))
    app.include_router(_page_routes())
    _handle_errors(app)
    app.add_middleware(Guard, policy=AccessPolicy(host, token, limits.upload))
    return app


def _page_routes() -> APIRouter:
    """Build a route for each file of the page, so that no other file can be requested."""
    router = APIRouter(include_in_schema=False)
    folder = resources.files("evenface.app").joinpath("page")
    files = {file.name: file for file in folder.iterdir() if file.name.rpartition(".")[2] in MEDIA_TYPES}

    def handler(name: str) -> Callable[[], Response]:
        media_type = MEDIA_TYPES[name.rpartition(".")[2]]
        statement = escape(STATEMENT).encode()
        return lambda: Response(files[name].read_bytes().replace(b"{{ statement }}", statement), media_type=media_type)

    for name in files:
        router.add_api_route("/" if name == "index.html" else f"/page/{name}", handler(name), methods=["GET", "HEAD"])
    return router


def _handle_errors(app: FastAPI) -> None:
    """Return all errors in the same form."""

    def response(status: int, what: str, do: str) -> JSONResponse:
        return JSONResponse({"error": {"what": what, "do": do}}, status)

    @app.exception_handler(StarletteHTTPException)
    def http_error(_request: Request, error: StarletteHTTPException) -> JSONResponse:
        messages = {
            "Not Found": "There is nothing at this address",
            "Method Not Allowed": "This address does not accept the method",
        }
        answer = response(error.status_code, messages.get(error.detail, error.detail), "See /openapi.json.")
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    def validation_error(_request: Request, error: RequestValidationError) -> JSONResponse:
        first: dict[str, Any] = (error.errors() or [{}])[0]
        location = ".".join(str(part) for part in first.get("loc", ())[1:] if isinstance(part, str))
        return response(422, f"{location or 'request'}: {first.get('msg', 'invalid')}", "See /openapi.json.")

    @app.exception_handler(InputError)
    def input_error(_request: Request, error: InputError) -> JSONResponse:
        return response(400, **error_message(error))

    @app.exception_handler(QueueFullError)
    def queue_full(_request: Request, _error: QueueFullError) -> JSONResponse:
        return response(429, "The job queue is full", "Try again when some jobs have ended.")

    @app.exception_handler(Exception)
    def internal_error(_request: Request, error: Exception) -> JSONResponse:
        return response(500, **error_message(error))


TOKEN = "EVENFACE_TOKEN"
"""Environment variable with the token, for programs that cannot read it from the terminal."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECTIONS = 64
"""Connections that are served at a time; each may send an upload."""


def serve(
    folders: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8420,
    save_uploads: Path | None = None,
    limits: Limits | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until Ctrl-C.

    Parameters
    ----------
    folders : sequence of Path
        Run folders, study folders, folders of these, ``.onnx`` files; the bundled model and those of the catalogue that
        were downloaded are served beside them.
    host : str
        Address to bind to. One that other machines reach requires a token: that of the environment variable
        ``EVENFACE_TOKEN``, else a random one.
    port : int
        0 selects a free one.
    save_uploads : Path, optional
        Folder to save uploads and results to.
    limits : Limits, optional
        Resource limits.
    ready : callable, optional
        Called with the address of the page once it can be opened. It contains the token if that is random.

    Raises
    ------
    InputError
        If no model is found, the port cannot be used, or the token could be guessed.
    """
    catalogue = Catalogue(folders, available_models)
    for note in catalogue.notes:
        print(note, file=sys.stderr)
    given = "" if host in LOOPBACK else _given_token()
    token = given or ("" if host in LOOPBACK else secrets.token_urlsafe(24))
    listening = _bind(host, port)
    app = create_app(catalogue, limits=limits, host=host, token=token, save_uploads=save_uploads)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.jobs.stop()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        log_level="error",
        access_log=False,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=CONNECTIONS,
    )
    if ready is not None:
        address = f"http://{_reachable_name(host)}:{listening.getsockname()[1]}/"
        ready(address + (f"?token={token}" if token and not given else ""))
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass  # raised by uvicorn after the server has stopped
    finally:
        app.state.jobs.close()
        listening.close()


def _given_token() -> str:
    """Return the token of the environment, or an empty string."""
    token = os.environ.get(TOKEN, "")
    if token and not re.fullmatch(r"[\w-]{16,}", token, re.ASCII):
        raise InputError(
            f"{TOKEN}: a token has at least 16 letters, digits, - or _",
            "Make one: python3 -c 'import secrets; print(secrets.token_urlsafe(24))'",
        )
    return token


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"port {port} of {host} cannot be used: {reason}", "Choose another one: --port.") from error
    return listening


def _reachable_name(host: str) -> str:
    """Return the name by which other machines reach the page."""
    if host in ("0.0.0.0", "::"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing, but selects the outgoing address
                return str(probe.getsockname()[0])
            except OSError:
                return socket.gethostname()
    return f"[{host}]" if ":" in host else host
