"""An exported ONNX file as a model, run by ONNX Runtime; never imports torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evenface.inference.model import Model, ModelMetadata
from evenface.utils.errors import InputError
from evenface.utils.onnx_session import start_session

HEADER = b"\x72\x33\x0a\x0fevenface_digest\x12\x20"
"""First bytes of exported files: an entry of ONNX's ``metadata_props`` whose value, a digest of the rest, follows."""
DIGEST_LENGTH = 32
POINTS = "points"
"""Name of the second input of a network that takes the mesh points of the face in each crop."""


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

    def outputs(self, batch: np.ndarray, meshes: Sequence[np.ndarray | None] = ()) -> np.ndarray:
        """Compute scores and values of prepared samples, see :meth:`Model.outputs`; a mesh is detected at most once."""
        if self.metadata.mesh is None:
            return super().outputs(batch)
        points = self._points(batch, meshes)
        first = self._run(batch, points)
        return (first + self._run(self.input_spec.mirrored(batch), points)) / 2 if self.input_spec.mirror else first

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """Compute the scores of one view of each sample; see :meth:`Model.forward`."""
        return self._run(batch, self._points(batch))

    def _points(self, batch: np.ndarray, meshes: Sequence[np.ndarray | None] = ()) -> dict[str, np.ndarray]:
        """Return the mesh points that the network takes beside the crops; nothing if it takes none."""
        if self.metadata.mesh is None:
            return {}
        from evenface.preprocessing.mesh_points import point_input

        return {POINTS: point_input(batch[:, 0], self.metadata.mesh, meshes)}

    def _run(self, batch: np.ndarray, points: dict[str, np.ndarray]) -> np.ndarray:
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(batch), **points})
        return np.concatenate(outputs, axis=1, dtype=np.float64)
