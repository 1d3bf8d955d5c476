"""An ONNX model in 8 bits."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from evenface.errors import InputError

SAMPLES = 256
"""Training samples by which the ranges of activations are found."""
BATCH = 16
PRODUCTS = ["Gemm", "MatMul"]


def quantised(model: Any, samples: np.ndarray) -> tuple[Any, str]:
    """Give a model whose large products are of 8-bit integers.

    Parameters
    ----------
    model : onnx.ModelProto
        Of floating-point numbers, with one input.
    samples : ndarray of shape (N, ...)
        Samples of training, as the model takes them; those that judge it must not be among them.

    Returns
    -------
    onnx.ModelProto
        The same input and output.
    str
        How it was done: ``static`` or ``dynamic``.

    Raises
    ------
    InputError
        If the part of ONNX Runtime that does it is not installed, or cannot.

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
