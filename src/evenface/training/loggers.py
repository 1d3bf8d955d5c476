"""TensorBoard and MLflow, for those who use them; both write to disk only."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from evenface.utils.errors import InputError


class Logger(Protocol):
    """A place for the history of a run."""

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """Take the figures of one epoch."""

    def close(self) -> None:
        """Finish writing."""


class TensorBoard:
    """Event files in ``tensorboard/`` of the run folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """Write the figures as scalars."""
        for name, value in row.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        """Finish the event file."""
        self._writer.close()


class MLflow:
    """An MLflow run in ``mlflow.db`` beside the run folder, shared by the runs there; telemetry is off."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
        import mlflow

        self._client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{(folder.parent / 'mlflow.db').resolve()}")
        found = self._client.get_experiment_by_name(name)
        experiment = (
            found.experiment_id if found else self._client.create_experiment(name, str((folder / "mlflow").resolve()))
        )
        self._run = self._client.create_run(experiment, run_name=folder.name).info.run_id
        for key, value in settings.items():
            self._client.log_param(self._run, key, value)

    def log(self, epoch: int, row: Mapping[str, float]) -> None:
        """Write the figures as metrics."""
        for name, value in row.items():
            self._client.log_metric(self._run, name, value, step=epoch)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


def build_loggers(
    names: tuple[str, ...], folder: Path, recipe_name: str, settings: Mapping[str, Any]
) -> tuple[Logger, ...]:
    """Open the loggers that a recipe asks for."""
    made: list[Logger] = []
    for name in names:
        try:
            made.append(TensorBoard(folder) if name == "tensorboard" else MLflow(folder, recipe_name, settings))
        except ImportError as error:
            raise InputError(
                f"the logger {name} is not installed ({error})", "Install it: pip install 'evenface[tracking]'."
            ) from error
    return tuple(made)
