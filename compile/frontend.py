"""From what the user brings to a traced network.

A registered name, `package.module:callable` or a .pt2 file becomes an ExportedProgram, and then Relax.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_unflatten
from tvm import ir

from compile.converters import import_program
from compile.export import export_module, require_static, try_inputs, unsupported
from compile.exported import read_program
from compile.frames import take_frames
from compile.labels import labels
from compile.models import ModelEntry, build_model, find_model
from compile.models._arguments import convert_arguments
from compile.preprocess import Preprocess
from compile.source import FRAMES, Shape, Source, TensorInfo, spell
from compile.tasks import TASKS, task_of_outputs
from compile.weights import load_weights
from targets.errors import UserError


@dataclass(frozen=True)
class Traced:
    """A network as torch.export saw it, and what it is for."""

    name: str
    task: str
    """`classify`, `detect`, `segment`, or `tensors` for a network whose outputs have no meaning to us."""
    program: ExportedProgram
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    weights: str
    """Where its weights came from, in words."""
    labels: str | None
    preprocess: Preprocess | None
    """How an image becomes its input; None where its input is not a single image."""

    @property
    def parameters(self) -> int:
        """Number of trained parameters, batch norm's scale and shift included."""
        return sum(parameter.numel() for parameter in self.program.parameters())

    def relax(self) -> ir.IRModule:
        """The network as a Relax module, its parameters bound as constants.

        Raises UserError naming an operator that TVM has no translation for.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch 2.13's own, from its tree specs
                return import_program(self.program)
        except Exception as error:  # TVM's importer raises whatever the first failing assertion raises
            raise unsupported(self.name, error) from error

    def reference(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """PyTorch's outputs for `inputs`, flattened."""
        with torch.inference_mode():
            outputs = self._module(*(torch.from_numpy(array) for array in inputs))
        return tuple(output.numpy() for output in _flat(outputs))

    @cached_property
    def _module(self) -> nn.Module:
        return self.program.module()

    def fingerprint(self) -> str:
        """sha256 of the weights and buffers, by name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.program.state_dict.items()):
            digest.update(name.encode())
            digest.update(tensor.detach().contiguous().numpy().tobytes())
        return digest.hexdigest()


def trace(source: Source) -> Traced:
    """Build the network that `source` names, give it its weights, and export it.

    Raises UserError when there is no such network, its weights or inputs do not fit, or it cannot be
    exported.
    """
    traced = _as_asked(_trace(source), source)
    return take_frames(traced) if source.input_format == FRAMES else traced


def _trace(source: Source) -> Traced:
    if source.model.endswith(".pt2"):
        return _from_file(source)
    if ":" in source.model:
        return _from_callable(source)
    return _from_registry(source)


def _as_asked(traced: Traced, source: Source) -> Traced:
    """With the labels, the fit and the normalisation that the user gave, if any."""
    if source.labels is not None:
        traced = dataclasses.replace(traced, labels=source.labels)
        classes, wanted = traced.outputs[0].shape[-1], len(labels(source.labels))
        if traced.task == "classify" and classes != wanted:
            raise UserError(f"{traced.name} tells {classes} classes, {source.labels} has {wanted}.")
    asked = [name for name in ("fit", "mean", "std") if getattr(source, name) is not None]
    if not asked:
        return traced
    steps = traced.preprocess
    if steps is None:
        raise UserError(f"{traced.name} takes no image, so --{asked[0]} does not apply.")
    steps = dataclasses.replace(steps, mean=source.mean or steps.mean, std=source.std or steps.std)
    return dataclasses.replace(traced, preprocess=steps.fitted(source.fit) if source.fit else steps)


def _from_registry(source: Source) -> Traced:
    entry = find_model(source.model).trained(source.weights)
    module = build_model(entry, source.args)
    inputs = _named_inputs(module, source, {_parameters(module)[0]: entry.input_shape})
    shape = next(iter(inputs.values()))
    preprocess = entry.preprocess.for_input(shape)
    try_inputs(entry.name, module, inputs)
    spec = source.weights or next(iter(entry.weights), None)
    if spec is None:
        raise UserError(f"{entry.name} has no trained weights to fall back on: give --weights.")
    weights = load_weights(module, spec, entry, shape, source.trust)
    program = export_module(entry.name, module, inputs)
    # A detector may give its raw outputs instead.
    task = _task(program) if entry.task == "detect" else entry.task
    return _traced(entry.name, task, program, weights, _label_set(entry, source), preprocess)


def _label_set(entry: ModelEntry, source: Source) -> str | None:
    """The entry's labels, unless the network was built for another number of classes."""
    classes = {**entry.args, **source.args}.get("num_classes")
    if entry.labels is None or (classes is not None and int(classes) != len(labels(entry.labels))):
        return None
    return entry.labels


def _from_callable(source: Source) -> Traced:
    factory = _import(source.model)
    name = source.model.partition(":")[2]
    values = convert_arguments(source.model, factory, source.args)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same network again when it is validated
        module = factory(**values)
    if not isinstance(module, nn.Module):
        raise UserError(f"{source.model} returns a {type(module).__name__}, not a torch.nn.Module.")
    module.eval()
    if not source.inputs:
        raise UserError(
            f"{source.model} needs its input shapes: give --input {_parameters(module)[0]}=1x3x224x224."
        )
    inputs = _named_inputs(module, source, {})
    try_inputs(source.model, module, inputs)
    weights = "its own"
    if source.weights is not None:
        shape = next(iter(inputs.values()))
        weights = load_weights(module, source.weights, None, shape, source.trust)
    program = export_module(source.model, module, inputs)
    return _traced(name, _task(program), program, weights, None, _image_steps(program))


def _from_file(source: Source) -> Traced:
    path = Path(source.model)
    if not path.is_file():
        raise UserError(f"There is no model file {path}.")
    if source.args or source.weights:
        raise UserError(f"{path} holds its network and its weights: --arg and --weights do not apply.")
    program = read_program(path, source.trust)
    require_static(str(path), program)
    for tensor in _inputs(program):
        wanted = source.inputs.get(tensor.name, tensor.shape)
        if wanted != tensor.shape:
            raise UserError(
                f"{path} was exported for {tensor.name}={spell(tensor.shape)}, not {spell(wanted)}: "
                "export it anew."
            )
    return _traced(path.stem, _task(program), program, path.name, None, _image_steps(program))


def _import(reference: str) -> Any:
    module_name, _, attribute = reference.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:  # as `python -m` does, for a model that lies in the user's project
        sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise UserError(
            f"No module {error.name!r} for {reference}: run from its folder, or install its package."
        ) from error
    except AttributeError:
        raise UserError(f"{module_name} has nothing called {attribute!r} (model {reference}).") from None


def _parameters(module: nn.Module) -> list[str]:
    """The names of the forward method's inputs."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    return [p.name for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]


def _named_inputs(module: nn.Module, source: Source, usual: Mapping[str, Shape]) -> dict[str, Shape]:
    names = _parameters(module)
    unknown = [name for name in source.inputs if name not in names]
    if unknown:
        raise UserError(f"{source.model} has no input {unknown[0]!r}: its inputs are {', '.join(names)}.")
    shapes = {**usual, **source.inputs}
    missing = [name for name in names if name not in shapes]
    if missing:
        raise UserError(f"{source.model} also needs --input {missing[0]}=SHAPE.")
    return {name: tuple(shapes[name]) for name in names}


def _traced(
    name: str,
    task: str,
    program: ExportedProgram,
    weights: str,
    labels: str | None,
    preprocess: Preprocess | None,
) -> Traced:
    inputs = _inputs(program)
    if len(inputs) != 1 or inputs[0].shape[0] != 1:
        preprocess = None
    if preprocess is None and TASKS[task].needs_image:
        task = "tensors"
    return Traced(name, task, program, inputs, _outputs(program), weights, labels, preprocess)


def _inputs(program: ExportedProgram) -> tuple[TensorInfo, ...]:
    return _tensors(program, program.graph_signature.user_inputs)


def _outputs(program: ExportedProgram) -> tuple[TensorInfo, ...]:
    tensors = _tensors(program, program.graph_signature.user_outputs)
    names = _keys(program) or [f"output{i}" for i in range(len(tensors))]
    if names == ["output0"]:
        names = ["output"]
    return tuple(TensorInfo(name, t.shape, t.dtype) for name, t in zip(names, tensors, strict=True))


def _keys(program: ExportedProgram) -> list[str] | None:
    """The outputs' names where the network returns a dict of tensors."""
    spec = program.call_spec.out_spec
    if spec is None:
        return None
    outputs = tree_unflatten(range(spec.num_leaves), spec)
    if not isinstance(outputs, Mapping) or list(outputs.values()) != list(range(spec.num_leaves)):
        return None
    return [str(name) for name in outputs] if all(str(name).isidentifier() for name in outputs) else None


def _tensors(program: ExportedProgram, names: Sequence[Any]) -> tuple[TensorInfo, ...]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return tuple(
        TensorInfo(
            str(name), tuple(map(int, values[name].shape)), str(values[name].dtype).removeprefix("torch.")
        )
        for name in names
    )


def _task(program: ExportedProgram) -> str:
    outputs = _outputs(program)
    return task_of_outputs([output.name for output in outputs], [output.shape for output in outputs]).name


def _image_steps(program: ExportedProgram) -> Preprocess | None:
    inputs = _inputs(program)
    is_image = len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[1] == 3
    fit = TASKS[_task(program)].fit
    return Preprocess(fit=fit).for_input(inputs[0].shape) if is_image else None


def _flat(outputs: Any) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [tensor for part in parts for tensor in _flat(part)]
