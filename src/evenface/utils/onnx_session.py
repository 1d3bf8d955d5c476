"""ONNX Runtime sessions."""

from pathlib import Path
from typing import Any

from evenface.utils.errors import InputError


def start_session(content: bytes, path: Path, threads: int | None = None) -> Any:
    """Create an ONNX Runtime session on the CPU from the content of a file; by default one thread per core."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"ONNX Runtime cannot be loaded ({error})", "Install it: pip install -U onnxruntime."
        ) from error
    onnxruntime.disable_telemetry_events()  # Windows builds send telemetry by default
    onnxruntime.set_default_logger_severity(ERRORS)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS
    options.intra_op_num_threads = threads or 0
    # By default the threads keep their cores busy while they wait for the next image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no narrower base class
        reason = str(error).strip().splitlines()[0]
        if type(error).__name__ == "InvalidProtobuf" or NO_GRAPH in reason:
            problem = f"{path} is no ONNX file, or is damaged"
            raise InputError(problem, "Copy it again, or name another file.") from error
        raise InputError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run {path} ({reason})",
            "Update it: pip install -U onnxruntime.",
        ) from error


NO_GRAPH = "No graph was found"
"""What ONNX Runtime states of a file whose first bytes happen to be those of an ONNX file."""
ERRORS = 3
"""Severity from which messages of ONNX Runtime are printed."""
