"""A trained method as one graph, from samples as they are stored to scores; as ONNX or as torch's own program."""

import io
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
        return "scores" if self.method.detects else "probabilities"


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
    with _tracing("ONNX"):
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


def program_bytes(asked: Asked, words: Mapping[str, str]) -> bytes:
    """Trace into a program of torch's, with metadata as extra files; the content of a ``.pt2`` file.

    Raises
    ------
    InputError
        If the network has parts that cannot be traced.
    """
    with _tracing("torch.export"):
        example = (asked.example(),)
        program = torch.export.export(asked, example, dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)  # names folders of this machine
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files=dict(words))
    return buffer.getvalue()


@contextmanager
def _tracing(what: str) -> Iterator[None]:
    """Trace without gradients and in silence; turn what cannot be traced into a sentence."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch wraps what happened in errors of many classes
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f"this network cannot be written as {what} ({why})") from error
    finally:
        logging.disable(logging.NOTSET)
