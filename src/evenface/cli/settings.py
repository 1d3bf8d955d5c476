"""Options of a verb that are declared as fields of a settings model."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

MANY = 1_000_000
"""Upper bound that only guards against slips: not shown."""
MODELS, LEFT_OUT, FLAGS = "settings_models", "settings_left_out", "settings_flags"


def with_settings(
    *models: str, leave_out: Sequence[str] = (), flags: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each field of settings models, given as ``module:class``, to a verb that takes ``**settings``.

    The models are imported when the verb is called, so that ``evenface --help`` stays quick.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [part for part in inspect.signature(function).parameters.values() if part.kind is not part.VAR_KEYWORD]
        vars(function).update(
            {
                MODELS: models,
                LEFT_OUT: tuple(leave_out),
                FLAGS: dict(flags or {}),
                "__signature__": inspect.Signature(own),
            }
        )
        function.__annotations__.pop("settings", None)
        return function

    return decorate


def complete(command: Any, settings: Mapping[str, Any]) -> Any:
    """Return a verb's command with the options of its settings models."""
    function = getattr(command.callback, "__wrapped__", command.callback)
    if not hasattr(function, MODELS):
        return command
    parameters = list(inspect.signature(function).parameters.values())
    for path in getattr(function, MODELS):
        module, _, name = path.partition(":")
        fields = getattr(importlib.import_module(module), name).model_fields
        parameters += [
            _parameter(key, field, getattr(function, FLAGS).get(key))
            for key, field in fields.items()
            if key not in getattr(function, LEFT_OUT)
        ]

    def call(**values: Any) -> None:
        function(**values)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    call.__annotations__ = {part.name: part.annotation for part in parameters}
    vars(call)["__signature__"] = inspect.Signature(
        [part.replace(kind=inspect.Parameter.KEYWORD_ONLY) for part in parameters]
    )
    alone = typer.Typer(**settings)
    alone.command(command.name)(call)
    return typer.main.get_command(alone)


def _parameter(name: str, field: Any, flag: str | None) -> inspect.Parameter:
    bounds = {
        option: getattr(bound, limit)
        for bound in field.metadata
        for option, limit in (("min", "ge"), ("max", "le"))
        if getattr(bound, limit, MANY) != MANY
    }
    help_text = field.description[0].upper() + field.description[1:] + "."
    option = typer.Option(*([flag] if flag else []), help=help_text, **bounds)
    kind = list[str] | None if field.annotation == tuple[str, ...] | None else field.annotation
    annotation: Any = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)
