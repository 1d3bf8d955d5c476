"""Export of a trained method to an ONNX graph, from stored samples to scores, and its int8 quantisation."""

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
from evenface.inference.onnx_model import with_digest
from evenface.inference.run_model import as_input
from evenface.methods.base import Method
from evenface.utils.errors import InputError

INPUT = "stored"
MAX_SAMPLES = 256
"""Training samples that calibrate the activation ranges."""
BATCH = 16
MATRIX_PRODUCTS = ["Gemm", "MatMul"]


class ExportModule(nn.Module):
    """:meth:`evenface.inference.model.Model.forward` as a float32 module."""

    def __init__(self, method: Method, spec: InputSpec) -> None:
        super().__init__()
        self.method, self.input_spec = method, spec
        self.eval()

    def forward(self, stored: Tensor) -> tuple[Tensor, ...]:
        """Compute scores, (B, C), float32, of uint8 pixels (B, T, H, W, C) or float32 sequences (B, T, P, D).

        The values of auxiliary targets, (B, T), are a second output.
        """
        outputs = self.method.with_auxiliary(as_input(stored, self.input_spec))
        if self.method.auxiliary is None:
            return (outputs,)
        further = self.method.auxiliary.linear.out_features
        return outputs[:, :-further], outputs[:, -further:]

    def examples(self) -> dict[str, Tensor]:
        """Return two samples for tracing, by the name of the input; a batch of one would become a fixed size."""
        kind = torch.float32 if self.input_spec.kind == "sequences" else torch.uint8
        return {INPUT: torch.zeros(2, *self.input_spec.shape, dtype=kind)}

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs in the file."""
        if self.method.link is not None and self.method.link.kind == "regression":
            return ["values"]
        first = "scores" if self.method.one_vs_rest else "probabilities"
        return [first] if self.method.auxiliary is None else [first, "values"]


def onnx_graph(module: ExportModule) -> Any:
    """Trace a module to an ``onnx.ModelProto`` with a dynamic batch size and without paths of this machine."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is not installed", "Install it: pip install 'evenface[export]'.") from error
    examples, batch = module.examples(), torch.export.Dim("batch")
    with _tracing():
        program = torch.onnx.export(
            module,
            tuple(examples.values()),
            dynamo=True,
            verbose=False,
            input_names=list(examples),
            output_names=module.outputs,
            dynamic_shapes={name: {0: batch} for name in examples},
        )
    if program is None:
        raise InputError("torch.onnx.export returned no ONNX program")
    model = program.model_proto
    for part in (model.graph, *model.functions):
        _remove_source_metadata(part)
    model.ClearField("metadata_props")
    return model


def _remove_source_metadata(part: Any) -> None:
    """Remove the source locations of nodes: they contain paths of this machine and are half of the file size."""
    for values in (getattr(part, name, ()) for name in ("node", "value_info", "input", "output", "initializer")):
        for value in values:
            if hasattr(value, "metadata_props"):  # inputs of functions are plain strings
                value.ClearField("metadata_props")
                value.ClearField("doc_string")
    for node in part.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _remove_source_metadata(inner)


def onnx_bytes(model: Any, properties: Mapping[str, str], *, description: str) -> bytes:
    """Serialise an ONNX model with its metadata to the content of a file that :class:`OnnxModel` opens."""
    import onnx

    from evenface.utils import __version__

    model.producer_name, model.producer_version, model.doc_string = "evenface", __version__, description
    onnx.helper.set_model_props(model, dict(properties))
    return with_digest(model.SerializeToString())


@contextmanager
def _tracing() -> Iterator[None]:
    """Trace without gradients, warnings and log output; convert a failure to an InputError."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # torch raises exceptions of many classes
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f"this network cannot be exported to ONNX ({reason})") from error
    finally:
        logging.disable(logging.NOTSET)


def quantise(model: Any, samples: Mapping[str, np.ndarray]) -> tuple[Any, str]:
    """Quantise a model to int8; return it and ``static`` or ``dynamic``. Samples are given by the name of the input.

    Notes
    -----
    Weights are quantised per output channel. Where most weights belong to convolutions, activations are quantised with
    fixed ranges (static, ONNX's QDQ format) that cover 99.999 % of the values on ``samples``; dynamic ranges made such
    a network four times slower than float32. Static weights have 7 bits: sums of products of 8 bits saturate on
    processors without VNNI. Transformers and recurrent networks get dynamic ranges, computed at each call: static ones
    made a transformer slower and less accurate, and ONNX Runtime has no static LSTM. It quantises neither a GRU nor an
    LSTM after convolutions; their weights stay float32. The classifier's output, and everything computed from it, is
    not quantised.
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise InputError(f"{error.name} is not installed", "Install it: pip install 'evenface[export]'.") from error
    static = _mostly_convolutions(model.graph)
    with tempfile.TemporaryDirectory() as folder, _silent():
        float32, preprocessed, int8 = (
            Path(folder) / name for name in ("float32.onnx", "preprocessed.onnx", "int8.onnx")
        )
        onnx.save(model, float32)
        try:
            quant_pre_process(float32, preprocessed, skip_symbolic_shape=True)
            output_nodes = _clear_shapes(preprocessed)
            options: dict[str, Any] = {"per_channel": True, "weight_type": quantization.QuantType.QInt8}
            if static:
                reader = _CalibrationReader(samples)
                options |= {
                    "activation_type": quantization.QuantType.QInt8,
                    "reduce_range": True,
                    "calibrate_method": quantization.CalibrationMethod.Percentile,
                    "nodes_to_exclude": output_nodes,
                    "extra_options": {
                        "OpTypesToExcludeOutputQuantization": MATRIX_PRODUCTS,
                        "CalibStridedMinMax": reader.step,  # applies to percentiles too, despite its name
                    },
                }
                quantization.quantize_static(preprocessed, int8, reader, **options)
            else:
                quantization.quantize_dynamic(preprocessed, int8, op_types_to_quantize=["LSTM", "MatMul"], **options)
        except InputError:
            raise
        except Exception as error:  # of many classes
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"this network cannot be quantised to int8 ({reason})", "Leave int8 out.") from error
        return onnx.load(int8), "static" if static else "dynamic"


def _mostly_convolutions(graph: Any) -> bool:
    """Return whether convolutions have more weights than matrix products and recurrent layers."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    totals = {True: 0, False: 0}
    for node in graph.node:
        if node.op_type in ("Conv", "GRU", "LSTM", *MATRIX_PRODUCTS):
            totals[node.op_type == "Conv"] += sum(sizes.get(name, 0) for name in node.input)
    return totals[True] > totals[False]


def _clear_shapes(path: Path) -> list[str]:
    """Clear outdated shapes of a preprocessed model; return the names of the nodes after the last product."""
    import onnx

    model = onnx.load(path)
    model.graph.ClearField("value_info")  # of the model before preprocessing; inferred again
    onnx.save(model, path)
    needed: set[str] = set()
    last = []
    for node in reversed(model.graph.node):
        if node.op_type in ("Conv", *MATRIX_PRODUCTS) or needed.intersection(node.output):
            needed.update(node.input)
        else:
            last.append(node.name)
    return last


class _CalibrationReader:
    """Samples for ONNX Runtime's calibration, in batches of ``step``."""

    def __init__(self, samples: Mapping[str, np.ndarray]) -> None:
        self._count = len(next(iter(samples.values())))
        self.step = min(BATCH, self._count)
        self._count -= self._count % self.step
        self._samples = samples
        self._batches: Iterator[dict[str, np.ndarray]] = iter(())

    def __len__(self) -> int:
        return self._count

    def set_range(self, start_index: int, end_index: int) -> None:
        """Select the next batch."""
        self._batches = iter(({name: values[start_index:end_index] for name, values in self._samples.items()},))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the selected batch, then None."""
        return next(self._batches, None)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Suppress the log and standard output of ONNX Runtime's quantisation."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
