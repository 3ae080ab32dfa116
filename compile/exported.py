"""Reading a .pt2 file without running what is in it.

torch.export.load unpickles, evaluates expressions, and calls whatever function the file names. So a file is
read only if it has nothing but tensors, and a graph of known operators on tensors of fixed sizes.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.pt2_archive import _package as archive
from torch.export.pt2_archive import constants as names

from targets.errors import UserError

NAME = "model"
"""Of the one program in a file of torch.export.save."""

_GRAPH = names.MODELS_FILENAME_FORMAT.format(NAME)
_SAMPLES = names.SAMPLE_INPUTS_FILENAME_FORMAT.format(NAME)
_TENSORS = {
    names.WEIGHTS_CONFIG_FILENAME_FORMAT.format(NAME): names.WEIGHT_FILENAME_PREFIX,
    names.CONSTANTS_CONFIG_FILENAME_FORMAT.format(NAME): names.TENSOR_CONSTANT_FILENAME_PREFIX,
}
"""Lists of tensors, and how the files that hold them as plain bytes are called."""
_PLAIN = re.compile(
    rf"{names.WEIGHTS_DIR}{names.WEIGHT_FILENAME_PREFIX}\d+|"
    rf"{names.CONSTANTS_DIR}{names.TENSOR_CONSTANT_FILENAME_PREFIX}\d+|"
    rf"{names.EXTRA_DIR}.*|\.data/\w+|version|byteorder|{names.ARCHIVE_FORMAT_PATH}|{names.ARCHIVE_VERSION_PATH}"
)

# What is computed with tensors alone: other operators may do anything (aten.from_file makes files).
_OPERATOR = re.compile(
    r"torch\.ops\.(?!aten\.from_file\b)(aten|prims|torchvision|armature)\.\w+\.\w+|_operator\.getitem|"
    r"torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond)"
)
_WORD = re.compile(r"[\w.]*")
_TREES = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")


def read_program(path: Path, trust: bool) -> ExportedProgram:
    """The program in a file of torch.export.save.

    UserError where it is none, or where it could run code of its own and is not to be trusted.
    """
    try:
        if trust:
            return torch.export.load(path)
        data = path.read_bytes()
        with archive.PT2ArchiveReader(io.BytesIO(data)) as reader:
            why = _why_not(reader)
        if why is None:
            # The part of torch.export.load without its way out for older files, which are pickles.
            return archive.load_pt2(io.BytesIO(data)).exported_programs[NAME]
    except Exception as error:  # a damaged archive fails in every way there is
        raise UserError(
            f"{path} is not an exported program: save one with "
            "torch.export.save(torch.export.export(model, inputs), PATH)."
        ) from error
    raise UserError(
        f"{path} holds {why}, which may run code of its own when it is read.\n"
        "Export the network anew, for fixed shapes; or give --trust, if you trust whoever made the file."
    )


def _why_not(reader: Any) -> str | None:
    """What the file holds that is more than tensors and a graph; None where there is no such thing."""
    files = set(reader.get_file_names())
    for name in sorted(files - {_GRAPH, _SAMPLES, *_TENSORS}):
        if not _PLAIN.fullmatch(name):
            return f"{name!r}"
    for name, prefix in _TENSORS.items():
        for tensor, row in json.loads(reader.read_bytes(name))["config"].items():
            if row["use_pickle"] or not re.fullmatch(rf"{prefix}\d+", row["path_name"]):
                return f"{tensor!r} as a pickle"
    if not _is_tensors(reader.read_bytes(_SAMPLES)):
        return "a pickle of more than tensors (its sample inputs)"
    return next(_odd_words(json.loads(reader.read_bytes(_GRAPH))), None)


def _is_tensors(pickled: bytes) -> bool:
    """Whether torch reads it without running anything: where not, it would go on to run it."""
    try:
        torch.load(io.BytesIO(pickled), map_location="cpu", weights_only=True)
    except Exception:  # whatever it raises
        return not pickled
    return True


def _odd_words(node: Any, key: str = "") -> Iterator[str]:
    """What is no plain name in a graph: names become lines of Python, and expressions are evaluated."""
    if isinstance(node, dict):
        for name, value in node.items():
            if not _WORD.fullmatch(name):
                yield f"the name {name!r}"
            yield from _odd_words(value, name)
    elif isinstance(node, list):
        if key == "guards_code" and node:
            yield f"the expression {node[0]!r}"
        for value in node:
            yield from _odd_words(value, key)
    elif isinstance(node, str) and not _READERS.get(key, _WORD.fullmatch)(node):
        yield f"{_WHAT.get(key, 'the name')} {node!r}"


def _is_tree(text: str) -> bool:
    """A structure of tuples, lists and dicts: others may import what they name."""
    version, tree = json.loads(text)
    return version == 1 and _is_branch(tree)


def _is_branch(tree: Any) -> bool:
    """The context of a dict are its keys, which may become the names of arguments."""
    keys = json.loads(tree["context"] or "null") or []
    words = isinstance(keys, list) and all(isinstance(key, str) and _WORD.fullmatch(key) for key in keys)
    return words and tree["type"] in _TREES and all(map(_is_branch, tree["children_spec"]))


def _never(_: str) -> bool:
    return False


def _always(_: str) -> bool:
    return True


_READERS: Mapping[str, Callable[[str], object]] = {
    "target": _OPERATOR.fullmatch,
    "as_operator": _OPERATOR.fullmatch,
    "expr_str": _never,
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    "torch_version": re.compile(r"[\w.+<=]*").fullmatch,
    # Read as text and never as anything else: arguments, and where the graph came from.
    "as_string": _always,
    "as_strings": _always,
    "stack_trace": _always,
    "nn_module_stack": _always,
    "source_fn_stack": _always,
    "torch_fn": _always,
    "from_node": _always,
    "custom": _always,
}
"""What the strings of a graph may be, by their key; of others only words."""
_WHAT = {
    "target": "the operator",
    "as_operator": "the operator",
    "expr_str": "the expression",
    "in_spec": "the structure",
    "out_spec": "the structure",
}
