"""An exported ONNX file as a model; nothing here needs torch."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from evenface.inference.model import Described, Model
from evenface.utils.errors import InputError

SEAL = b"\x72\x33\x0a\x0fevenface_digest\x12\x20"
"""How exported files begin: the first of ONNX's own ``metadata_props``, whose value, a digest of the rest, follows."""
DIGITS = 32


def sealed(model: bytes) -> bytes:
    """Put the digest of an ONNX file before it; it is still an ONNX file, as protocol buffers may be joined."""
    return SEAL + _digest(model) + model


def _digest(model: bytes) -> bytes:
    return hashlib.blake2b(model, digest_size=DIGITS // 2).hexdigest().encode()


def start_session(content: bytes, path: Path, threads: int | None = None) -> Any:
    """Start ONNX Runtime on a file's content, on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("ONNX Runtime is not installed", "Install it: pip install onnxruntime.") from error
    onnxruntime.disable_telemetry_events()  # of the builds for Windows, which report to their maker
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads or 0
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common but this
        why = str(error).strip().splitlines()[0]
        raise InputError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run {path} ({why})",
            "Update it: pip install -U onnxruntime.",
        ) from error


class OnnxModel(Model):
    """A file that ``evenface export`` wrote, ready to be asked.

    Parameters
    ----------
    path : str or Path
        The file.
    threads : int, optional
        That judge together; by default as many as there are cores.

    Attributes
    ----------
    described : Described
        All that the file says of itself.

    Raises
    ------
    InputError
        If it is missing, damaged, of another program or of a newer evenface, or ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})", "Name a file that was exported.") from error
        start = len(SEAL) + DIGITS
        if not content.startswith(SEAL):
            raise InputError(
                f"{path} is no file of evenface's, or another program changed it", "Write it by `evenface export RUN`."
            )
        if content[len(SEAL) : start] != _digest(content[start:]):
            raise InputError(f"{path} is damaged or cut short", "Copy it again, or export it again.")
        self._session = start_session(content, path, threads)
        self.described = said = Described.read(self._session.get_modelmeta().custom_metadata_map, path)
        self.name, self.form, self.classes = said.name, said.form, said.classes
        # In 8 bits it is another model than the run, and a table must not hold answers of both.
        self.key = said.key if said.precision == "float32" else f"{said.key}-{said.precision}"
        self.ordered, self.one_vs_rest, self.prior = said.ordered, said.one_vs_rest, said.prior
        self.calibration, self.card = said.calibration, said.card
        self._input = self._session.get_inputs()[0].name

    def ask(self, batch: np.ndarray) -> np.ndarray:
        """Give the raw answer; see :meth:`Model.ask`."""
        (found,) = self._session.run(None, {self._input: np.ascontiguousarray(batch)})
        return np.asarray(found, dtype=np.float64)
