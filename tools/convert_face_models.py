"""Convert MediaPipe's face models to ONNX.

Reads the short-range and the full-range face detector and the mesh of 468 landmarks from the package mediapipe 0.10.14,
and writes them to ``src/evenface/preprocessing/face_models``. Run once, in an environment of its own; the results are
committed::

    pip install --no-deps mediapipe==0.10.14 && pip install tflite==2.18.0 onnx==1.22.0
    python tools/convert_face_models.py

The weights stay as they are, in float16; the result differs from the original by the rounding of float32 alone. The
input of each model is a batch of RGB images, uint8 (N, H, W, 3), scaled inside the model; scores are logits.

ONNX Runtime keeps channels in blocks of :data:`BLOCK`, and fuses sums and activations with the convolution before them
only there. So tensors of other numbers of channels are extended by channels of zeros.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

TARGET = Path(__file__).parents[1] / "src/evenface/preprocessing/face_models"
OPSET = 17
BLOCK = 8
"""Number of channels in a block on processors with AVX2."""
DTYPES = {
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.INT32: np.int32,
}
OPERATORS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
ACTIVATIONS = {tflite.ActivationFunctionType.NONE: None, tflite.ActivationFunctionType.RELU: "Relu"}


@dataclass(frozen=True)
class FaceModel:
    """A file of the package, its ONNX name, names of its outputs, and the scale and offset from bytes to its input."""

    source: str
    name: str
    outputs: dict[str, str]
    scale: float
    offset: float


MODELS = (
    FaceModel(
        "face_detection/face_detection_short_range.tflite",
        "short_range_detector",
        {"regressors": "boxes", "classificators": "scores"},
        1 / 127.5,
        -1.0,
    ),
    FaceModel(
        "face_detection/face_detection_full_range_sparse.tflite",
        "full_range_detector",
        {"Identity": "boxes", "Identity_1": "scores"},
        1 / 127.5,
        -1.0,
    ),
    FaceModel(
        "face_landmark/face_landmark.tflite", "mesh", {"conv2d_21": "points", "conv2d_31": "presence"}, 1 / 255, 0.0
    ),
)


class Converter:
    """Conversion of one graph; inside, tensors are (N, C, H, W)."""

    def __init__(self, content: bytes, model: FaceModel) -> None:
        self.source = tflite.Model.GetRootAsModel(content, 0)
        self.graph, self.model = self.source.Subgraphs(0), model
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.constants: dict[int, np.ndarray] = {}
        self.names: dict[int, str] = {}
        self.pads: dict[int, tuple[int, int, int, int]] = {}
        """Zeros around an image (top, left, bottom, right), which the convolution that reads it adds."""
        self.unscaled = ""
        """Name of the input before it is scaled, which the convolution that reads it does."""

    def convert(self) -> onnx.ModelProto:
        """Convert the whole graph."""
        (number,) = self.graph.InputsAsNumpy()
        _, height, width, channels = self.graph.Tensors(number).ShapeAsNumpy().tolist()
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, channels])
        planes = self.add("Cast", [self.add("Transpose", ["image"], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
        shift = self.model.offset / self.model.scale
        self.unscaled = self.add("Add", [planes, self.weight(np.float32(shift))]) if shift else planes
        self.names[number] = self.unscaled
        for operator in self.operators():
            getattr(self, f"do_{operator.kind.lower()}")(operator)
        outputs = [self.output(tensor) for tensor in self.graph.OutputsAsNumpy()]
        graph = helper.make_graph(self.nodes, self.model.name, [image], outputs, self.weights)
        result = helper.make_model(
            graph, producer_name="evenface", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )
        result.doc_string = f"Converted from {Path(self.model.source).name} of mediapipe 0.10.14 (Apache License 2.0)."
        onnx.checker.check_model(result, full_check=True)
        return result

    def operators(self) -> Iterator["Operator"]:
        """Yield the operators in order of execution."""
        for i in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(i)
            code = self.source.OperatorCodes(operator.OpcodeIndex())
            kind = OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            yield Operator(
                kind,
                operator.InputsAsNumpy().tolist(),
                operator.OutputsAsNumpy().tolist()[0],
                operator.BuiltinOptions(),
            )

    # --- parts ------------------------------------------------------------------------------------------------------

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Append a node, and return the name of its output."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, values: np.ndarray | np.generic) -> str:
        """Append a constant; float16 is converted to float32 when the model is loaded."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return self.add("Cast", [name], to=TensorProto.FLOAT) if values.dtype == np.float16 else name

    def values(self, number: int) -> np.ndarray:
        """Return a constant tensor."""
        if number in self.constants:
            return self.constants[number]
        tensor = self.graph.Tensors(number)
        content = self.source.Buffers(tensor.Buffer()).DataAsNumpy()
        values = np.frombuffer(content.tobytes(), DTYPES[tensor.Type()])
        if tensor.Sparsity() is None:
            return values.reshape(tensor.ShapeAsNumpy())
        return dense(values, tensor)

    def size(self, number: int) -> list[int]:
        """Return the shape, (N, H, W, C)."""
        sizes: list[int] = self.graph.Tensors(number).ShapeAsNumpy().tolist()
        return sizes

    def width(self, number: int) -> int:
        """Return the number of channels of a tensor with those of zeros; outputs have none of these."""
        channels = self.size(number)[3]
        return channels if channels < BLOCK or number in self.ends else -(-channels // BLOCK) * BLOCK

    @cached_property
    def ends(self) -> set[int]:
        """Tensors whose channels are those of the outputs, and the input."""
        shapes = [operator.inputs[0] for operator in self.operators() if operator.kind == "RESHAPE"]
        return {*shapes, *self.graph.InputsAsNumpy().tolist(), *self.graph.OutputsAsNumpy().tolist()}

    def extended(self, values: np.ndarray, number: int, axis: int = 0) -> np.ndarray:
        """Append zeros to weights, for the channels of zeros of a tensor."""
        missing = self.width(number) - self.size(number)[3]
        return np.pad(values, [(0, missing if axis == other else 0) for other in range(values.ndim)])

    def scaled(self, name: str, factors: np.ndarray) -> str:
        """Multiply each channel by a factor."""
        return self.add(
            "Conv", [name, self.weight(factors.reshape(-1, 1, 1, 1))], group=len(factors), kernel_shape=[1, 1]
        )

    def finish(self, operator: "Operator", name: str, activation: int = tflite.ActivationFunctionType.NONE) -> None:
        """Apply the fused activation, and record the name of the result."""
        kind = ACTIVATIONS[activation]
        self.names[operator.output] = self.add(kind, [name]) if kind else name

    def output(self, number: int) -> onnx.ValueInfoProto:
        """Declare an output of the model; a single pixel of many channels becomes a vector."""
        name = self.model.outputs[self.graph.Tensors(number).Name().decode()]
        sizes = self.size(number)
        if len(sizes) == 4:
            self.add("Flatten", [self.names[number]], name)
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", sizes[3]])
        self.add("Identity", [self.names[number]], name)
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sizes[1:]])

    # --- operators --------------------------------------------------------------------------------------------------

    def do_dequantize(self, operator: "Operator") -> None:
        self.constants[operator.output] = self.values(operator.inputs[0])

    do_densify = do_dequantize

    def do_conv_2d(self, operator: "Operator") -> None:
        options = operator.read(tflite.Conv2DOptions())
        self.convolution(operator, options, self.values(operator.inputs[1]).transpose(0, 3, 1, 2), 1)

    def do_depthwise_conv_2d(self, operator: "Operator") -> None:
        options = operator.read(tflite.DepthwiseConv2DOptions())
        kernel = self.values(operator.inputs[1]).transpose(3, 0, 1, 2)
        self.convolution(operator, options, kernel, self.width(operator.output))

    def convolution(self, operator: "Operator", options: Any, kernel: np.ndarray, groups: int) -> None:
        image, _, bias = operator.inputs
        pads = self.pads.get(image) or self.same_pads(operator, options, kernel.shape[2:])
        kernel = self.extended(kernel, operator.output)
        kernel = self.extended(kernel, image, axis=1) if groups == 1 else kernel
        if self.names[image] == self.unscaled:
            kernel = kernel * np.float32(self.model.scale)
        result = self.add(
            "Conv",
            [self.names[image], self.weight(kernel), self.weight(self.extended(self.values(bias), operator.output))],
            group=groups,
            kernel_shape=kernel.shape[2:],
            strides=[options.StrideH(), options.StrideW()],
            pads=pads,
        )
        self.finish(operator, result, options.FusedActivationFunction())

    def same_pads(self, operator: "Operator", options: Any, window: tuple[int, ...]) -> tuple[int, ...]:
        """Return the zeros that SAME padding adds: with stride 2 on an even side, at its end only."""
        if options.Padding() == tflite.Padding.VALID:
            return 0, 0, 0, 0
        sizes, results = self.size(operator.inputs[0])[1:3], self.size(operator.output)[1:3]
        strides = options.StrideH(), options.StrideW()
        missing = [
            max(0, (result - 1) * stride + length - size)
            for size, result, stride, length in zip(sizes, results, strides, window, strict=True)
        ]
        return *(number // 2 for number in missing), *(number - number // 2 for number in missing)

    def do_max_pool_2d(self, operator: "Operator") -> None:
        options = operator.read(tflite.Pool2DOptions())
        window = options.FilterHeight(), options.FilterWidth()
        result = self.add(
            "MaxPool",
            [self.names[operator.inputs[0]]],
            kernel_shape=window,
            strides=[options.StrideH(), options.StrideW()],
            pads=self.same_pads(operator, options, window),
        )
        self.finish(operator, result, options.FusedActivationFunction())

    def do_pad(self, operator: "Operator") -> None:
        image, widths = operator.inputs[0], self.values(operator.inputs[1])
        if widths[3].any():
            assert widths.ravel().nonzero()[0].tolist() == [7]  # after the last channel
            name, before = self.names[image], self.width(image)
            missing = self.width(operator.output) - before
            if missing:  # Pad itself would leave the blocks
                zeros = self.weight(np.zeros((missing, before, 1, 1), np.float16))
                name = self.add("Concat", [name, self.add("Conv", [name, zeros], kernel_shape=[1, 1])], axis=1)
            self.names[operator.output] = name
        else:
            self.names[operator.output] = self.names[image]
            self.pads[operator.output] = (*widths[1:3, 0].tolist(), *widths[1:3, 1].tolist())

    def do_add(self, operator: "Operator") -> None:
        options = operator.read(tflite.AddOptions())
        result = self.add("Add", [self.names[number] for number in operator.inputs])
        self.finish(operator, result, options.FusedActivationFunction())

    def do_relu(self, operator: "Operator") -> None:
        self.finish(operator, self.names[operator.inputs[0]], tflite.ActivationFunctionType.RELU)

    def do_prelu(self, operator: "Operator") -> None:
        """Write x if x > 0 else slope · x by convolutions and relu: ONNX Runtime's PRelu is slow.

        It is slope · x + relu((1 - slope) · x), in which relu is fused, or slope · x + (1 - slope) · relu(x) where a
        slope is above 1.
        """
        name, slope = self.names[operator.inputs[0]], self.values(operator.inputs[1]).astype(np.float32).ravel()
        slope = self.extended(slope, operator.output)
        if (slope <= 1).all():
            rest = self.add("Relu", [self.scaled(name, 1 - slope)])
        else:
            rest = self.scaled(self.add("Relu", [name]), 1 - slope)
        self.finish(operator, self.add("Add", [rest, self.scaled(name, slope)]))

    def do_resize_bilinear(self, operator: "Operator") -> None:
        options = operator.read(tflite.ResizeBilinearOptions())
        assert options.HalfPixelCenters()
        (before, after) = (self.size(number)[1:3] for number in (operator.inputs[0], operator.output))
        scales = self.weight(np.array([1, 1, after[0] / before[0], after[1] / before[1]], np.float32))
        name = self.names[operator.inputs[0]]
        self.finish(operator, self.add("Resize", [name, "", scales], mode="linear"))

    def do_depth_to_space(self, operator: "Operator") -> None:
        block = operator.read(tflite.DepthToSpaceOptions()).BlockSize()
        self.finish(operator, self.add("DepthToSpace", [self.names[operator.inputs[0]]], blocksize=block, mode="DCR"))

    def do_reshape(self, operator: "Operator") -> None:
        """Reshape in the order (N, H, W, C), in which the anchors are numbered; the size of the batch is kept."""
        pixels = self.add("Transpose", [self.names[operator.inputs[0]]], perm=[0, 2, 3, 1])
        shape = self.weight(np.array([0, *self.size(operator.output)[1:]], np.int64))
        self.finish(operator, self.add("Reshape", [pixels, shape]))

    def do_concatenation(self, operator: "Operator") -> None:
        axis = operator.read(tflite.ConcatenationOptions()).Axis()
        self.finish(operator, self.add("Concat", [self.names[number] for number in operator.inputs], axis=axis))


@dataclass(frozen=True)
class Operator:
    """An operator of the source graph with one output."""

    kind: str
    inputs: list[int]
    output: int
    table: Any

    def read(self, options: Any) -> Any:
        """Return its options, of the class of ``options``."""
        options.Init(self.table.Bytes, self.table.Pos)
        return options


def dense(values: np.ndarray, tensor: Any) -> np.ndarray:
    """Return a tensor whose last dimension is stored in compressed rows."""
    shape = tensor.ShapeAsNumpy()
    rows = tensor.Sparsity().DimMetadata(len(shape) - 1)
    ends, columns = (
        np.array([vector.Values(i) for i in range(vector.ValuesLength())])
        for vector in (
            sparse_vector(rows.ArraySegments(), rows.ArraySegmentsType()),
            sparse_vector(rows.ArrayIndices(), rows.ArrayIndicesType()),
        )
    )
    result = np.zeros((int(np.prod(shape[:-1])), shape[-1]), values.dtype)
    result[np.repeat(np.arange(len(result)), np.diff(ends)), columns] = values
    return result.reshape(shape)


def sparse_vector(table: Any, kind: int) -> Any:
    """Return the indices of a compressed dimension, which are stored in 8, 16 or 32 bits."""
    classes = {name: code for name, code in vars(tflite.SparseIndexVector).items() if isinstance(code, int)}
    vector = next(getattr(tflite, name)() for name, code in classes.items() if code == kind)
    vector.Init(table.Bytes, table.Pos)
    return vector


def main() -> None:
    """Convert all models."""
    package = importlib.util.find_spec("mediapipe")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "modules"
    TARGET.mkdir(exist_ok=True)
    for model in MODELS:
        target = TARGET / f"{model.name}.onnx"
        target.write_bytes(Converter((folder / model.source).read_bytes(), model).convert().SerializeToString())
        print(f"{target.name}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
