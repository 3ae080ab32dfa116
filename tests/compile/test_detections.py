"""Detections from deltas and logits: PyTorch against plain loops, and the board against PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from compile.build import memory_plan
from compile.converters import import_program
from compile.detections import OUTPUTS, detections, logit
from compile.frontend import trace
from compile.lower import lower
from compile.source import Source
from compile.tuning.task import tasks_of
from tests.boards import run_network
from tests.compile.test_lower import CORE, kinds, lowered


@dataclass(frozen=True)
class Case:
    batch: int = 1
    anchors: int = 60
    classes: int = 4
    score: float = 0.5
    iou: float = 0.5
    most: int = 20
    grid: float = 0.0
    """Logits are multiples of it, so that many are equal."""
    reach: float = 1.0
    """Anchors lie in 0..reach: beyond 1, some boxes are outside the image."""


CASES = {
    "few": Case(score=0.97),
    "none": Case(score=0.999),
    "more than fit": Case(most=5, score=0.1),
    "fewer than rows": Case(anchors=3, classes=2, score=0.6, most=50),
    "all": Case(score=0.0, most=300),
    "ties": Case(grid=0.5, score=0.2, most=200),
    "all equal": Case(grid=100.0, score=0.2, most=200),
    "one class": Case(classes=1, score=0.3),
    "two images": Case(batch=2, score=0.98),
    "outside": Case(reach=2.0, score=0.3, most=100),
    "no overlap allowed": Case(iou=0.0, score=0.1, most=100),
    "any overlap allowed": Case(iou=1.0, score=0.1, most=300),
    "a single anchor": Case(anchors=1, classes=1, score=0.01, most=1),
}


def drawn(case: Case) -> list[torch.Tensor]:
    """Deltas, logits and anchors."""
    generator = torch.Generator().manual_seed(case.anchors + case.classes)
    deltas = torch.randn(case.batch, case.anchors, 4, generator=generator)
    logits = 2 * torch.randn(case.batch, case.anchors, 1 + case.classes, generator=generator)
    if case.grid:
        logits = (logits / case.grid).round() * case.grid
    centres, sizes = torch.rand(2, case.anchors, 2, generator=generator)
    return [deltas, logits, torch.cat([case.reach * centres, 0.1 + 0.3 * sizes], 1)]


def expected(case: Case, deltas: np.ndarray, logits: np.ndarray, anchors: np.ndarray) -> list[tuple]:
    """One image's (label, logit, anchor, box), as TensorFlow does it: class by class, and then all sorted."""
    found = []
    for label in range(case.classes):
        kept: list[tuple] = []
        for at in sorted(range(len(anchors)), key=lambda at: (-logits[at, 1 + label], at)):
            if case.score and not 1 / (1 + math.exp(-logits[at, 1 + label])) > case.score:
                continue
            box = decoded(deltas[at], anchors[at])
            inside = [min(max(side, 0), 1) for side in box]
            is_seen = inside[0] < inside[2] and inside[1] < inside[3]
            if is_seen and all(overlap(box, other[3]) <= case.iou for other in kept):
                kept.append((label, logits[at, 1 + label], at, box, inside))
        found += kept
    return sorted(found, key=lambda row: (-row[1], row[2], row[0]))[: case.most]


def decoded(delta: np.ndarray, anchor: np.ndarray) -> list[float]:
    ty, tx, th, tw = map(float, delta)
    cy, cx, height, width = map(float, anchor)
    y, x = ty / 10 * height + cy, tx / 10 * width + cx
    h, w = math.exp(th / 5) * height, math.exp(tw / 5) * width
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def overlap(one: list[float], other: list[float]) -> float:
    sides = [min(one[2 + i], other[2 + i]) - max(one[i], other[i]) for i in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


class Head(nn.Module):
    """Detections of the tensors that it is given."""

    def __init__(self, case: Case, anchors: torch.Tensor) -> None:
        super().__init__()
        self.case = case
        self.register_buffer("anchors", anchors)

    def forward(self, deltas: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return detections(deltas, logits, self.anchors, self.case.score, self.case.iou, self.case.most)


def on_board(
    case: Case, deltas: torch.Tensor, logits: torch.Tensor, anchors: torch.Tensor
) -> list[np.ndarray]:
    network = lowered(Head(case, anchors), deltas, logits)
    assert [kernel.kind for kernel in network.kernels] == ["detections"]
    return run_network(network, CORE, deltas.numpy(), logits.numpy())


@pytest.mark.parametrize("name", CASES)
def test_pytorch_finds_what_plain_loops_find(name):
    case = CASES[name]
    deltas, logits, anchors = drawn(case)
    boxes, scores, labels, count = detections(deltas, logits, anchors, case.score, case.iou, case.most)
    assert boxes.shape == (case.batch, case.most, 4) and labels.dtype == count.dtype == torch.int32
    for image in range(case.batch):
        rows = expected(case, deltas[image].numpy(), logits[image].numpy(), anchors.numpy())
        found = len(rows)
        assert int(count[image]) == found
        assert labels[image, :found].tolist() == [row[0] for row in rows]
        assert boxes[image, :found].numpy() == pytest.approx(
            np.array([row[4] for row in rows]).reshape(found, 4), abs=1e-6
        )
        assert scores[image, :found].tolist() == pytest.approx([1 / (1 + math.exp(-row[1])) for row in rows])
        assert (labels[image, found:] == -1).all()
        assert not boxes[image, found:].any() and not scores[image, found:].any()


def test_cases_are_what_they_say():
    counts = {
        name: detections(*drawn(case), case.score, case.iou, case.most)[3].tolist()
        for name, case in CASES.items()
    }
    assert counts["none"] == [0]
    assert 0 < counts["few"][0] < CASES["few"].most
    assert counts["more than fit"] == [5]
    assert 0 < counts["fewer than rows"][0] <= 6
    assert 1 < counts["no overlap allowed"][0] < counts["any overlap allowed"][0]
    assert len(set(counts["two images"])) == 2


@pytest.mark.emulator
@pytest.mark.parametrize("name", CASES)
def test_the_board_finds_what_pytorch_finds(name):
    case = CASES[name]
    tensors = drawn(case)
    ours = on_board(case, *tensors)
    for mine, theirs in zip(ours, detections(*tensors, case.score, case.iou, case.most), strict=True):
        theirs = theirs.numpy()
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs) if mine.dtype == np.int32 else np.abs(mine - theirs).max() < 1e-6


# A box, and its upper half: their intersection is exactly half of their union.
HALVES = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.375, 0.5, 0.25, 0.5]])


@pytest.mark.emulator
@pytest.mark.parametrize(("iou", "count"), [(0.5, 2), (0.49, 1)])
def test_boxes_that_overlap_by_just_the_threshold_stay(iou, count):
    case = Case(anchors=2, classes=1, iou=iou, most=4)
    deltas, logits = torch.zeros(1, 2, 4), torch.tensor([[[0.0, 1.0], [0.0, 2.0]]])
    theirs = detections(deltas, logits, HALVES, case.score, case.iou, case.most)
    assert theirs[3].tolist() == [count]
    assert theirs[0][0, 0].tolist() == [0.25, 0.25, 0.75, 0.5]
    boxes, _, labels, found = on_board(case, deltas, logits, HALVES)
    for mine, other in zip((boxes, labels, found), (theirs[0], *theirs[2:]), strict=True):
        assert np.array_equal(mine, other.numpy())


def test_a_score_at_the_threshold_is_not_enough():
    case = Case(anchors=1, classes=1, score=0.75)
    threshold = torch.tensor(logit(case.score))
    for value, count in ((threshold, 0), (torch.nextafter(threshold, torch.tensor(9.0)), 1)):
        logits = torch.tensor([[[0.0, float(value)]]])
        assert detections(torch.zeros(1, 1, 4), logits, HALVES[:1], 0.75, 0.5, 3)[3].tolist() == [count]


def test_the_workspace_is_in_the_plan():
    case = CASES["more than fit"]
    deltas, logits, anchors = drawn(case)
    plan = memory_plan(lowered(Head(case, anchors), deltas, logits), CORE)
    waiting = 4 * case.anchors
    assert waiting <= plan.arena_bytes < waiting + 64
    assert plan.separate_bytes == 4 * (case.most * (4 + 1 + 1) + 1)


def test_there_is_nothing_to_tune():
    deltas, logits, anchors = drawn(CASES["few"])
    program = torch.export.export(Head(CASES["few"], anchors), (deltas, logits))
    assert tasks_of({"head": import_program(program)}, CORE) == []


class Own(nn.Module):
    """A user's detector: an anchor for each pixel of its only level."""

    def __init__(self) -> None:
        super().__init__()
        self.deltas, self.logits = (nn.Conv2d(3, channels, 4, 4) for channels in (4, 3))
        self.register_buffer("anchors", torch.rand(64, 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        deltas, logits = (
            layer(image).permute(0, 2, 3, 1).reshape(len(image), 64, -1)
            for layer in (self.deltas, self.logits)
        )
        return dict(zip(OUTPUTS, detections(deltas, logits, self.anchors, 0.4, 0.5, 9), strict=True))


def test_an_exported_network_may_use_it(tmp_path):
    program = torch.export.export(Own().eval(), (torch.randn(1, 3, 32, 32),))
    torch.export.save(program, tmp_path / "own.pt2")
    traced = trace(Source(str(tmp_path / "own.pt2")))
    assert traced.task == "detect"
    assert [(output.name, output.shape) for output in traced.outputs] == [
        ("boxes", (1, 9, 4)),
        ("scores", (1, 9)),
        ("labels", (1, 9)),
        ("count", (1,)),
    ]
    assert kinds(lower(traced.relax(), CORE))["detections"] == 1


def test_it_is_an_operator_of_pytorchs():
    torch.library.opcheck(detections, (*drawn(CASES["few"]), 0.5, 0.5, 5))
