"""The reference networks: one file per family, found by looking into this folder.

A network is a function under `@register_model`; its name is the model's name, its arguments are the model's.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from compile.models._arguments import convert_arguments
from compile.models._cost import Cost, model_cost
from compile.preprocess import Preprocess
from compile.tasks import TASKS
from compile.weights import WeightSource
from targets.errors import UserError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Cost", "ModelEntry", "build_model", "find_model", "model_cost", "model_rows", "register_model"]

Task = Literal["classify", "detect", "segment"]
Factory = Callable[..., "nn.Module"]


@dataclass(frozen=True, eq=False)
class ModelEntry:
    """A registered network.

    `input_shape` is the usual one (N, 3, H, W; float32); networks take other sizes too. `weights` are the
    trained ones by name, `labels` the label set of the outputs, `args` arguments that go before its defaults.
    """

    name: str
    task: Task
    factory: Factory
    input_shape: tuple[int, int, int, int]
    preprocess: Preprocess
    labels: str | None
    paper: str
    weights: Mapping[str, WeightSource] = field(default_factory=dict)
    args: Mapping[str, str] = field(default_factory=dict)

    def trained(self, weights: str | None) -> ModelEntry:
        """The network as the trained weights of that name need it; itself for any other weights.

        Without a name, they are the first.
        """
        name = next(iter(self.weights), "") if weights is None else weights.partition(":")[0]
        source = self.weights.get(name)
        if source is None:
            return self
        return replace(
            self,
            args=source.args,
            input_shape=source.input_shape or self.input_shape,
            preprocess=source.preprocess or self.preprocess,
            labels=source.labels or self.labels,
        )

    @property
    def summary(self) -> str:
        """The first line of the network's docstring."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


_REGISTRY: dict[str, ModelEntry] = {}


def register_model(
    *,
    task: Task,
    input_shape: tuple[int, int, int, int],
    paper: str,
    preprocess: Preprocess | None = None,
    weights: Mapping[str, WeightSource] | None = None,
    labels: str | None = None,
) -> Callable[[Factory], Factory]:
    """Register the decorated function, which returns the network, under its own name.

    Without `preprocess` images become inputs as its task has it.
    """

    def register(factory: Factory) -> Factory:
        name = factory.__name__
        if name in _REGISTRY:
            raise ValueError(f"two models are named {name}")
        steps = (preprocess or Preprocess(fit=TASKS[task].fit)).for_input(input_shape)
        _REGISTRY[name] = ModelEntry(name, task, factory, input_shape, steps, labels, paper, weights or {})
        return factory

    return register


def find_model(name: str) -> ModelEntry:
    """The registered network of that name; UserError with the nearest names when there is none."""
    registry = _registry()
    if name in registry:
        return registry[name]
    near = difflib.get_close_matches(name, registry, n=3, cutoff=0.5) or sorted(registry)[:3]
    raise UserError(
        f"Unknown model '{name}': did you mean {' or '.join(near)}?\n"
        "`armature models` lists all; your own is package.module:callable or a .pt2 file."
    )


def build_model(entry: ModelEntry, args: Mapping[str, str]) -> nn.Module:
    """The untrained network in eval mode, its arguments as on the command line (`{"width": "0.5"}`).

    Its initial weights depend on nothing, and the global random state is left as it was. Raises UserError
    for an argument that the network does not have, or a value that it does not take.
    """
    import torch

    values = convert_arguments(entry.name, entry.factory, {**entry.args, **args})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return entry.factory(**values).eval()


def model_rows() -> list[dict[str, Any]]:
    """The table of registered networks, JSON-ready, sorted by name.

    Each row has `name`, `task`, `input`, `params`, `multiply_adds` (both at the default arguments),
    `arguments`, `weights`, `summary` and `paper`.
    """
    return [_row(entry) for _, entry in sorted(_registry().items())]


@cache
def _registry() -> Mapping[str, ModelEntry]:
    """All networks, after importing every family in this folder."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return _REGISTRY


def _row(entry: ModelEntry) -> dict[str, Any]:
    import torch

    with torch.device("meta"):
        cost = model_cost(entry.factory().eval(), entry.input_shape)
    return {
        "name": entry.name,
        "task": entry.task,
        "input": "x".join(map(str, entry.input_shape)),
        "params": cost.params,
        "multiply_adds": cost.multiply_adds,
        "arguments": {name: p.default for name, p in inspect.signature(entry.factory).parameters.items()},
        "weights": sorted(entry.weights),
        "summary": entry.summary,
        "paper": entry.paper,
    }
