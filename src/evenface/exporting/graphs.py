"""A trained method as one ONNX graph, from stored samples to scores."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from evenface.errors import InputError
from evenface.methods.base import Method
from evenface.serving.form import Form
from evenface.serving.onnx_model import sealed
from evenface.serving.torch_model import as_input

INPUT = "stored"


class Asked(nn.Module):
    """What :meth:`evenface.serving.model.Model.ask` does, in 32 bits.

    Parameters
    ----------
    method : Method
        Of evaluation mode, on the CPU.
    form : Form
        What it is given.
    """

    def __init__(self, method: Method, form: Form) -> None:
        super().__init__()
        self.method, self.form = method, form
        self.eval()

    def forward(self, stored: Tensor) -> Tensor:
        """Give scores (B, C), float32, of uint8 pixels (B, T, H, W, C) or float32 numbers (B, T, P, D)."""
        return self.method.scores(as_input(stored, self.form))

    def example(self) -> Tensor:
        """Give two samples to trace with; one would be taken for a fixed size."""
        kind = torch.float32 if self.form.kind == "sequences" else torch.uint8
        return torch.zeros(2, *self.form.shape, dtype=kind)

    @property
    def output(self) -> str:
        """What the scores are called in the file."""
        return "scores" if self.method.one_vs_rest else "probabilities"


def onnx_graph(asked: Asked) -> Any:
    """Trace into an ONNX model, an ``onnx.ModelProto`` with a free batch size and nothing of this machine in it.

    Raises
    ------
    InputError
        If what writes ONNX is not installed, or the network has parts that ONNX has no words for.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is not installed", "Install it: pip install 'evenface[export]'.") from error
    with _tracing():
        program = torch.onnx.export(
            asked,
            (asked.example(),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[asked.output],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
        )
    if program is None:
        raise InputError("torch gave no ONNX program")
    model = program.model_proto
    for part in (model.graph, *model.functions):
        _forget_sources(part)
    model.ClearField("metadata_props")
    return model


def _forget_sources(part: Any) -> None:
    """Take out where in the program each node comes from: it names folders of this machine and is half of a file."""
    for values in (getattr(part, name, ()) for name in ("node", "value_info", "input", "output", "initializer")):
        for one in values:
            if hasattr(one, "metadata_props"):  # names of inputs of functions are plain texts
                one.ClearField("metadata_props")
                one.ClearField("doc_string")
    for node in part.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _forget_sources(inner)


def onnx_bytes(model: Any, words: Mapping[str, str], *, about: str) -> bytes:
    """Give an ONNX model with its metadata as the content of a file that :class:`OnnxModel` opens.

    Parameters
    ----------
    model : onnx.ModelProto
        Its metadata are replaced.
    words : mapping of str to str
        Metadata.
    about : str
        One line for programs that show models.
    """
    import onnx

    from evenface import __version__

    model.producer_name, model.producer_version, model.doc_string = "evenface", __version__, about
    onnx.helper.set_model_props(model, dict(words))
    return sealed(model.SerializeToString())


@contextmanager
def _tracing() -> Iterator[None]:
    """Trace without gradients and in silence; turn what cannot be traced into a sentence."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch wraps what happened in errors of many classes
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f"this network cannot be written as ONNX ({why})") from error
    finally:
        logging.disable(logging.NOTSET)
