"""torch.export, and what it cannot do said in a user's words."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.export import ExportedProgram

from compile.source import Shape, spell
from targets.errors import UserError


def try_inputs(name: str, module: nn.Module, inputs: Mapping[str, Shape]) -> None:
    """UserError unless the network takes such inputs."""
    try:
        with torch.inference_mode():
            module(*(torch.zeros(shape) for shape in inputs.values()))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        shapes = ", ".join(f"{key}={spell(shape)}" for key, shape in inputs.items())
        raise UserError(
            f"{name} does not take {shapes}: {_first_line(error)}\nGive another --input."
        ) from error


def export_module(
    name: str, module: nn.Module, inputs: Mapping[str, Shape], dtype: torch.dtype = torch.float32
) -> ExportedProgram:
    """The network traced for inputs of these shapes; UserError naming what cannot be traced."""
    try:
        with _quiet_torch():
            zeros = tuple(torch.zeros(shape, dtype=dtype) for shape in inputs.values())
            program = torch.export.export(module, zeros)
    except Exception as error:  # torch.export documents no common base of what it raises
        raise unsupported(name, error) from error
    require_static(name, program)
    return program


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep torch from printing the graph it could not trace; the error says what matters."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def require_static(name: str, program: ExportedProgram) -> None:
    """UserError, naming the operator, where a tensor's shape is known only when the network runs."""
    for node in program.graph.nodes:
        shape = getattr(node.meta.get("val"), "shape", ())
        if any(not isinstance(extent, int) for extent in shape):
            raise UserError(
                f"{name} cannot be compiled: the shape of {node.target}'s result is not known beforehand.\n"
                "Export it with fixed input shapes, and leave such operators out of the module."
            )


def unsupported(name: str, error: Exception) -> UserError:
    """What to tell the user of a failed export or import: the operator, where the error names one."""
    text = str(error)
    operator = re.search(r"Unsupported function types? \[?([^\]\n]+)|((?:torch\.ops\.)?aten[.:]+\w+)", text)
    what = next((part for part in operator.groups() if part), "") if operator else ""
    cause = re.search(r"Caused by: \((.+)\)", text)
    if "data-dependent" in text:
        place = f" ({cause[1]})" if cause else ""
        where = f"a Python value is read from a tensor (aten.item){place}, so its path depends on the data"
    elif what:
        where = f"operator {what.strip()} is not supported"
    else:
        where = _first_line(error)
    return UserError(
        f"{name} cannot be compiled: {where}.\n"
        "Rewrite that part of the model with supported operators, or leave it out of the exported module."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
