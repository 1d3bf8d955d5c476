"""A trained method as one ONNX graph, from stored samples to scores."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evenface.inference.input_spec import InputSpec
from evenface.inference.onnx_model import sealed
from evenface.inference.run_model import as_input
from evenface.methods.base import Method
from evenface.utils.errors import InputError

INPUT = "stored"


class GraphMethod(nn.Module):
    """What :meth:`evenface.inference.model.Model.ask` does, in 32 bits."""

    def __init__(self, method: Method, form: InputSpec) -> None:
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


def onnx_graph(asked: GraphMethod) -> Any:
    """Trace into an ONNX model, an ``onnx.ModelProto`` with a free batch size and nothing of this machine in it."""
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
    """Give an ONNX model with its metadata as the content of a file that :class:`OnnxModel` opens."""
    import onnx

    from evenface.utils.version import __version__

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


SAMPLES = 256
"""Training samples by which the ranges of activations are found."""
BATCH = 16
PRODUCTS = ["Gemm", "MatMul"]


def quantised(model: Any, samples: np.ndarray) -> tuple[Any, str]:
    """Give a model whose large products are of 8-bit integers.

    Notes
    -----
    Weights are rounded by a range for each output channel. Where most of them are convolutions', activations are
    rounded by fixed ranges, which hold 99.999 % of the values that ``samples`` give (static, in ONNX's own QDQ form);
    ranges found anew at each call made such a network four times slower than in 32 bits. All others, transformers and
    recurrent networks of sequences, have ranges found at each call (dynamic): fixed ones made a transformer slower and
    less accurate, and ONNX Runtime has no fixed ones for an LSTM. It has none at all for a GRU, nor for an LSTM behind
    convolutions; their weights stay in 32 bits. What the classifier gives, and what is made of it, is not rounded.
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise InputError(f"{error.name} is not installed", "Install it: pip install 'evenface[export]'.") from error
    static = _mostly_convolutions(model.graph)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        whole, ready, small = (Path(folder) / name for name in ("whole.onnx", "ready.onnx", "small.onnx"))
        onnx.save(model, whole)
        try:
            quant_pre_process(whole, ready, skip_symbolic_shape=True)
            last = _prepared(ready)
            how: dict[str, Any] = {"per_channel": True, "weight_type": quantization.QuantType.QInt8}
            if static:
                reader = _Reader(model.graph.input[0].name, samples)
                how |= {
                    "activation_type": quantization.QuantType.QInt8,
                    "calibrate_method": quantization.CalibrationMethod.Percentile,
                    "nodes_to_exclude": last,
                    "extra_options": {
                        "OpTypesToExcludeOutputQuantization": PRODUCTS,
                        "CalibStridedMinMax": reader.step,  # for percentiles too, whatever its name says
                    },
                }
                quantization.quantize_static(ready, small, reader, **how)
            else:
                quantization.quantize_dynamic(ready, small, op_types_to_quantize=["LSTM", "MatMul"], **how)
        except InputError:
            raise
        except Exception as error:  # of many classes
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"this network cannot be written in 8 bits ({why})", "Leave int8 out.") from error
        return onnx.load(small), "static" if static else "dynamic"


def _mostly_convolutions(graph: Any) -> bool:
    """Whether more weights are multiplied by convolutions than by plain products of matrices and recurrent layers."""
    sizes = {one.name: int(np.prod(one.dims)) for one in graph.initializer}
    totals = {True: 0, False: 0}
    for node in graph.node:
        if node.op_type in ("Conv", "GRU", "LSTM", *PRODUCTS):
            totals[node.op_type == "Conv"] += sum(sizes.get(name, 0) for name in node.input)
    return totals[True] > totals[False]


def _prepared(path: Path) -> list[str]:
    """Get a rewritten model ready, and name its nodes behind the last product: those that make answers of logits."""
    import onnx

    model = onnx.load(path)
    model.graph.ClearField("value_info")  # left as it was before rewriting; it is found anew
    onnx.save(model, path)
    needed: set[str] = set()
    last = []
    for node in reversed(model.graph.node):
        if node.op_type in ("Conv", *PRODUCTS) or needed.intersection(node.output):
            needed.update(node.input)
        else:
            last.append(node.name)
    return last


class _Reader:
    """Samples in the form that ONNX Runtime reads them in, and as many at a time as it then keeps all results of."""

    def __init__(self, name: str, samples: np.ndarray) -> None:
        self.step = min(BATCH, len(samples))
        self._name, self._samples = name, samples[: len(samples) // self.step * self.step]
        self._batches: Iterator[np.ndarray] = iter(())

    def __len__(self) -> int:
        return len(self._samples)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Say which samples are wanted next."""
        self._batches = iter((self._samples[start_index:end_index],))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Give them, and then none."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's advice and tables off the screen."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
