"""An exported ONNX file as a model, run by ONNX Runtime; never imports torch."""

import hashlib
from pathlib import Path

import numpy as np

from evenface.inference.model import Model, ModelMetadata
from evenface.utils.errors import InputError
from evenface.utils.onnx_session import start_session

HEADER = b"\x72\x33\x0a\x0fevenface_digest\x12\x20"
"""First bytes of exported files: an entry of ONNX's ``metadata_props`` whose value, a digest of the rest, follows."""
DIGEST_LENGTH = 32


def with_digest(content: bytes) -> bytes:
    """Prepend the digest of an ONNX file; the result is a valid ONNX file, as protocol buffers can be concatenated."""
    return HEADER + _digest(content) + content


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_LENGTH // 2).hexdigest().encode()


def is_exported(path: Path) -> bool:
    """Return whether a file begins as those that evenface exports."""
    if not path.is_file():
        return True  # its absence is reported when it is opened
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


class OnnxModel(Model):
    """Model of a file that ``evenface export`` wrote.

    Parameters
    ----------
    path : str or Path
        The file.
    threads : int, optional
        Threads of one forward pass; by default one per core.

    Attributes
    ----------
    metadata : ModelMetadata
        Metadata of the file.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another program or a newer evenface, or ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})", "Specify an exported .onnx file.") from error
        start = len(HEADER) + DIGEST_LENGTH
        if not content.startswith(HEADER):
            start_session(content, path, threads)  # an InputError of what is no ONNX file at all
            raise InputError(
                f"{path} was not written by evenface, or was changed by another program",
                "Write it with: evenface export RUN; or state the form of a model of another project: --spec SPEC.",
            )
        if content[len(HEADER) : start] != _digest(content[start:]):
            raise InputError(f"{path} is damaged or truncated", "Copy it again, or export the run again.")
        self._session = start_session(content, path, threads)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.metadata = metadata = ModelMetadata.from_properties(properties, path)
        self.name, self.input_spec, self.classes = metadata.name, metadata.input_spec, metadata.classes
        # An int8 model differs from its run: one table must not mix the predictions of both.
        float32 = metadata.precision == "float32"
        self.key = metadata.key if float32 else f"{metadata.key}-{metadata.precision}"
        self.ordered, self.one_vs_rest, self.prior = metadata.ordered, metadata.one_vs_rest, metadata.prior
        self.calibration, self.card = metadata.calibration, metadata.card
        self.task, self.thresholds = metadata.task, metadata.thresholds
        self.auxiliary = metadata.auxiliary
        self._input = self._session.get_inputs()[0].name

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Compute the scores of one view of each sample; see :meth:`Model.forward`."""
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(batch)})
        return np.concatenate(outputs, axis=1, dtype=np.float64)
