"""ONNX classifiers of other projects as models: files of the catalogue, their download, inference."""

import contextlib
import hashlib
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import numpy as np

from evenface.config.onnx_spec import CatalogueEntry, Download, OnnxSpec, catalogue, load_spec
from evenface.data.labels import merge_classes
from evenface.inference.input_spec import InputSpec
from evenface.inference.model import Model
from evenface.inference.registry import model_file, resolve_model
from evenface.utils import __version__
from evenface.utils.errors import InputError
from evenface.utils.files import digest, disk_error, exclusive_lock
from evenface.utils.onnx_session import start_session
from evenface.utils.progress import progress
from evenface.utils.registry import find

TIMEOUT = 30.0
"""Seconds without an answer after which a download fails."""
CHUNK = 1 << 16
AGAIN = "Run the command again; it continues where it stopped."
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
SUM_TOLERANCE = 1e-3
"""Deviation from 1 of the sum of outputs that are taken for probabilities."""


def list_models() -> list[str]:
    """Return the lines that list the catalogue."""
    lines = []
    for name, entry in catalogue().items():
        source = entry.download
        details = {
            "": _state(name, entry),
            "licence": entry.licence,
            "training data": entry.training_data,
            "terms": entry.terms,
            "address": source.address if source else "",
            "SHA-256": f"{source.sha256}, {source.size:,} bytes" if source else "",
        }
        lines.append(f"{name:26} {entry.about}")
        lines += [f"  {key + ':' if key else '':15} {text}" for key, text in details.items() if text]
    return lines


def _state(name: str, entry: CatalogueEntry) -> str:
    there = model_file(name).is_file()
    if entry.spec is None:
        return "part of the package" if there else "not in this installation"
    if there:
        return f"downloaded: {model_file(name)}"
    if entry.download is None:
        return f"no published digest: get the file from {entry.page}, then --model FILE.onnx --spec {name}"
    return f"{entry.download.size / 1e6:.1f} MB: evenface models get {name}"


def known_file(path: Path) -> str | None:
    """Return the name in the catalogue of a downloaded file, by size and digest; None if it is no known one."""
    for name, entry in catalogue().items():
        source = entry.download
        if source and path.is_file() and path.stat().st_size == source.size and _sha256(path) == source.sha256:
            return name
    return None


# ---- download


def download_model(name: str) -> Path:
    """Download a model; see :func:`evenface.api.get_model`."""
    entry, path = find("model", name, catalogue()), model_file(name)
    if entry.download is None:
        if entry.spec is None:
            return resolve_model(name)
        raise InputError(f"the catalogue has no published digest of {name}, so it is not downloaded", _remedy(name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path.with_suffix(".lock"), f"another process is downloading {name}"):
            if not (path.is_file() and _sha256(path) == entry.download.sha256):
                fetch(entry.download, path)
    except OSError as error:
        raise disk_error(error, path) from error
    return path


def _remedy(name: str) -> str:
    return f"Get the file from {catalogue()[name].page}, then: --model FILE.onnx --spec {name}"


def fetch(source: Download, path: Path) -> None:
    """Download a file beside ``path`` and move it there once size and digest are verified."""
    partial = path.with_name(path.name + ".partial")
    try:
        _receive(source, partial)
    except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
        if isinstance(error, HTTPError) and error.code == 416:  # what is there is no beginning of the file
            partial.unlink(missing_ok=True)
        reason = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
        raise InputError(f"{source.address} cannot be downloaded ({reason})", AGAIN) from error
    length = partial.stat().st_size
    if length < source.size:
        raise InputError(f"{source.address} ended after {length:,} of {source.size:,} bytes", AGAIN)
    if length > source.size or _sha256(partial) != source.sha256:
        partial.unlink()
        what = f"is larger than {source.size:,} bytes" if length > source.size else "has another SHA-256 digest"
        raise InputError(
            f"{source.address} {what}: it is not the file in the catalogue, and was not kept",
            "Download it from its project's page, and inspect it before use.",
        )
    partial.replace(path)


def _receive(source: Download, partial: Path) -> None:
    """Append to a partial file what is missing, or start again where the server cannot continue."""
    have = partial.stat().st_size if partial.is_file() else 0
    if have >= source.size:
        have = 0
    with _open(source.address, have) as answer:
        continued = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if continued else 0
        with partial.open("ab" if continued else "wb") as file, progress("downloading", source.size, have) as advance:
            while have <= source.size and (chunk := answer.read(min(CHUNK, source.size - have + 1))):
                file.write(chunk)
                have += len(chunk)
                advance(len(chunk))


@contextlib.contextmanager
def _open(address: str, start: int) -> Iterator[Any]:
    """Open an address, from a byte on."""
    _check_address(address)
    headers = {"User-Agent": f"evenface/{__version__}", **({"Range": f"bytes={start}-"} if start else {})}
    opener = urllib.request.build_opener(_SafeRedirects)
    with opener.open(urllib.request.Request(address, headers=headers), timeout=TIMEOUT) as answer:
        yield answer


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to https only."""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        """Check the new address, which is the last argument."""
        _check_address(arguments[-1])
        return super().redirect_request(*arguments)


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise InputError(f"{address} is not an https address", "Files are downloaded by https only.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- inference


class ThirdPartyModel(Model):
    """ONNX classifier of another project, used by a specification.

    Parameters
    ----------
    path : str or Path
        The file.
    spec : OnnxSpec
        Its labels, and the form of its input and output.
    name : str, optional
        Name for display; default that of the file.
    entry : CatalogueEntry, optional
        What the catalogue states of it.

    Attributes
    ----------
    spec, entry
        As given.

    Raises
    ------
    InputError
        If the file cannot be read or run, or has another form than the specification states.
    """

    def __init__(
        self, path: str | Path, spec: OnnxSpec, *, name: str | None = None, entry: CatalogueEntry | None = None
    ) -> None:
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})", "Specify an .onnx file.") from error
        self.path, self.spec, self.name, self.entry = path, spec, name or path.stem, entry
        self._session = start_session(content, path)
        self._input = _chosen(self._session.get_inputs(), spec.input_name, path, "input")
        self._output = _chosen(self._session.get_outputs(), spec.output_name, path, "output")
        self._check_form()
        self.key = digest(content, spec.model_dump_json())
        named = [label for label in spec.labels if label is not None]
        groups: dict[str, list[str]] = {}
        for label, new in spec.classes.items():
            groups.setdefault(new, []).append(label)
        self._merge = merge_classes(named, groups)
        self.classes, self.ordered, self.one_vs_rest = self._merge.classes, False, False
        self.input_spec = InputSpec("stills", spec.size, spec.channels, faces=spec.faces)
        self.calibration, self.prior = None, np.full(len(self.classes), 1 / len(self.classes))
        self.card = {"about": entry.about if entry else "a model of another project"}

    def _check_form(self) -> None:
        """Raise InputError if the file's input or output cannot be what the specification states."""
        spec, shape = self.spec, self._input.shape
        sizes = {"N": None, "C": spec.network_channels, "H": spec.size, "W": spec.size}
        expected = [sizes[letter] for letter in spec.layout]
        fits = len(shape) == 4 and all(
            want is None or not isinstance(size, int) or size == want
            for size, want in zip(shape, expected, strict=True)
        )
        if not fits:
            raise InputError(
                f"{self.path} takes an input of shape {_shown(shape)}; the specification states {spec.layout} with "
                f"{spec.network_channels} channels and {spec.size} pixels",
                "Correct size, colour or layout.",
            )
        if self._input.type not in (*TYPES, "tensor(uint8)"):
            raise InputError(f"{self.path} takes {self._input.type}", "Specify a model that takes images.")
        count = self._output.shape[1] if len(self._output.shape) > 1 else None
        if isinstance(count, int) and count != len(spec.labels):
            raise self._wrong_count(count)

    def _wrong_count(self, count: int) -> InputError:
        return InputError(
            f"{self.path} has {count} outputs; the specification has {len(self.spec.labels)} labels",
            "List a label for each output, or null.",
        )

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Compute the probabilities of one view of each sample; see :meth:`Model.forward`."""
        values = self._preprocess(batch[:, 0])
        fixed = self._input.shape[0]
        length = fixed if isinstance(fixed, int) and fixed > 0 else len(values)
        parts = []
        for start in range(0, len(values), length):
            part = values[start : start + length]
            padding = np.zeros((length - len(part), *part.shape[1:]), part.dtype)
            (output,) = self._session.run([self._output.name], {self._input.name: np.concatenate([part, padding])})
            parts.append(np.asarray(output, np.float64).reshape(length, -1)[: len(part)])
        return self._probabilities(np.concatenate(parts))

    def _preprocess(self, images: np.ndarray) -> np.ndarray:
        """Convert prepared images, (B, H, W, C) uint8, to the network's input."""
        spec = self.spec
        if spec.colour == "bgr":
            images = images[..., ::-1]
        elif spec.colour == "grey3":
            images = np.repeat(images, 3, axis=-1)
        mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
        values = (images * np.float32(spec.scale / 255) - mean) / std
        if spec.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        if self._input.type == "tensor(uint8)":
            values = values.round().clip(0, 255)
        return np.ascontiguousarray(values, TYPES.get(self._input.type, np.uint8))

    def _probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Convert outputs to probabilities of the classes."""
        spec = self.spec
        if outputs.shape[1] != len(spec.labels):
            raise self._wrong_count(outputs.shape[1])
        if not np.isfinite(outputs).all():
            raise InputError(f"{self.path} returns values that are not finite", "Check scale, mean and std.")
        kept = outputs[:, [label is not None for label in spec.labels]]
        given = (kept >= -SUM_TOLERANCE).all(axis=1) & (np.abs(kept.sum(axis=1) - 1) < SUM_TOLERANCE)
        if spec.output == "probabilities" and not given.all():
            raise InputError(f"{self.path} returns values that are no probabilities", "Set output: logits.")
        exponentials = np.exp(kept - kept.max(axis=1, keepdims=True))
        softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
        keep = given if spec.output is None else np.full(len(kept), spec.output == "probabilities")
        return self._merge.sum(np.where(keep[:, None], kept.clip(0), softmax))


def _chosen(nodes: list[Any], name: str | None, path: Path, what: str) -> Any:
    """Return the named input or output, or the only one; the first of several outputs is not assumed."""
    known = {node.name: node for node in nodes}
    if name is None and len(nodes) == 1:
        return nodes[0]
    if name not in known or (what == "input" and len(nodes) > 1):
        wanted = "no" if name is None else f"another than {name!r}"
        raise InputError(
            f"{path} has {len(nodes)} {what}s, {', '.join(known)}; the specification names {wanted} {what}",
            f"Set {what}_name." if what == "output" or len(nodes) == 1 else "Specify a model that takes images only.",
        )
    return known[name]


def _shown(shape: list[Any]) -> str:
    return f"({', '.join(str(size) if isinstance(size, int) else '?' for size in shape)})"


def open_third_party(path: Path, spec: str | Path | None) -> ThirdPartyModel | None:
    """Open the file of another project: by a specification, or a file that is known; None if it is neither."""
    name = known_file(path)
    if spec is not None:
        return ThirdPartyModel(path, load_spec(spec), name=name, entry=catalogue().get(name or str(spec)))
    entry = catalogue()[name] if name else None
    return ThirdPartyModel(path, entry.spec, name=name, entry=entry) if entry and entry.spec else None
