"""What networks are for. A task is a file here and a row of TASKS: how to find data, compare and draw."""

from __future__ import annotations

from collections.abc import Sequence

from compile.tasks.classify import CLASSIFY
from compile.tasks.detect import DETECT
from compile.tasks.segment import SEGMENT
from compile.tasks.task import Task
from compile.tasks.tensors import TENSORS

__all__ = ["TASKS", "Task", "task_of_outputs"]

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFY, DETECT, SEGMENT, TENSORS)}


def task_of_outputs(names: Sequence[str], shapes: Sequence[Sequence[int]]) -> Task:
    """The task of a network that is not ours, by its outputs: as it names them, or a single [N, classes]."""
    given = [(name, len(shape)) for name, shape in zip(names, shapes, strict=True)]
    for task in TASKS.values():
        if task.outputs and list(task.outputs.items()) == given:
            return task
    return CLASSIFY if len(shapes) == 1 and len(shapes[0]) == 2 else TENSORS
