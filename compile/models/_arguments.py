"""Model arguments: from the command line (`--arg width=0.5`) by the factory's annotations; their limits."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from targets.errors import UserError

_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def convert_arguments(model: str, factory: Callable[..., Any], args: Mapping[str, str]) -> dict[str, Any]:
    """The keyword arguments for `factory`; UserError for an unknown name or a value of another type."""
    parameters = inspect.signature(factory).parameters
    types_ = {name: _type_of_default(each) for name, each in parameters.items()}
    types_ |= typing.get_type_hints(factory)
    values: dict[str, Any] = {}
    for name, text in args.items():
        if name not in parameters:
            raise UserError(f"{model} has no argument '{name}': it accepts {_accepted(parameters, types_)}.")
        try:
            values[name] = _convert(types_[name], text)
        except ValueError:
            raise UserError(
                f"{model} cannot use {name}={text}: it accepts {_accepted(parameters, types_)}."
            ) from None
    return values


def require_width(model: str, width: float, lowest: float, highest: float) -> None:
    """UserError unless `width` is one that `model` has."""
    if not lowest <= width <= highest:
        raise UserError(f"{model} has no width {width}: give one from {lowest} to {highest}.")


def require_classes(model: str, num_classes: int, most: int | None = None) -> None:
    """UserError unless there is a class to tell, and there are no more than `most`."""
    if num_classes < 1 or (most is not None and num_classes > most):
        accepted = "1 or more" if most is None else f"1 to {most}"
        raise UserError(f"{model} cannot tell {num_classes} classes apart: give num_classes of {accepted}.")


def _convert(kind: Any, text: str) -> Any:
    """`text` as a value of the annotation `kind`; ValueError when it is not one."""
    if kind is bool:
        if text.lower() not in _BOOLS:
            raise ValueError(text)
        return _BOOLS[text.lower()]
    if kind is float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    if kind in (int, str):
        return kind(text)
    if get_origin(kind) is Literal:
        return _choose({str(choice): choice for choice in get_args(kind)}, text)
    if get_origin(kind) in (Union, types.UnionType):
        return _convert_optional(kind, text)
    raise TypeError(f"a model's argument cannot be a {kind}")


def _choose(choices: Mapping[str, Any], text: str) -> Any:
    if text not in choices:
        raise ValueError(text)
    return choices[text]


def _convert_optional(kind: Any, text: str) -> Any:
    """A value of `X | None`, where `none` stands for None."""
    if text.lower() == "none":
        return None
    (inner,) = (choice for choice in get_args(kind) if choice is not type(None))
    return _convert(inner, text)


def _type_of_default(parameter: inspect.Parameter) -> type:
    """What an argument is that says no type: its default's, or text."""
    has_type = parameter.default not in (parameter.empty, None)
    return type(parameter.default) if has_type else str


def _accepted(parameters: Mapping[str, inspect.Parameter], types_: Mapping[str, Any]) -> str:
    """The arguments as `width=1.0 (float), num_classes=1000 (int)`."""
    described = (f"{name}={p.default} ({_type_name(types_[name])})" for name, p in parameters.items())
    return ", ".join(described) or "none"


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    return kind.__name__ if isinstance(kind, type) else str(kind)
