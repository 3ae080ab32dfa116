"""Points of every kind's space: traces replay them, they build, and they compute what PyTorch does."""

from __future__ import annotations

import json
from itertools import cycle

import pytest
import tvm
from reference import Case, agrees, function_of
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule import TuneContext
from tvm.s_tir.schedule import Trace

from schedules.apply import kinds, schedule_kernel
from schedules.kernel import workload_of
from schedules.search import space_generator
from schedules.splice import splice
from schedules.window import Window
from targets.cores import find_core

CORES = [find_core(name) for name in ("a53", "a55", "a72", "a76")]
WINDOW = Window((3, 3), (1, 1), (1, 1, 1, 1))
CASES = [
    Case("pointwise", (1, 24, 8, 7), 40, residual=True),
    Case("pointwise", (1, 33, 5, 5), 18),
    Case("pointwise", (1, 16, 8, 6), 48),
    Case("depthwise", (1, 32, 9, 14), 32, WINDOW),
    Case("depthwise", (1, 18, 13, 11), 18, Window((3, 3), (2, 2), (1, 1, 1, 1))),
    Case("depthwise", (1, 24, 9, 16), 24, Window((5, 5), (1, 1), (2, 2, 2, 2))),
    Case("depthwise", (1, 16, 12, 15), 16, Window((3, 3), (1, 1), (2, 2, 2, 2), (2, 2))),
    Case("conv", (1, 3, 15, 18), 24, Window((3, 3), (2, 2), (1, 1, 1, 1)), channels_last=False),
    Case("conv", (1, 7, 5, 6), 16, WINDOW),
    Case("dense", (1, 33), 70),
    Case("pool", (1, 48, 9, 9), 0, WINDOW),
]
POINTS = [
    (case, core, seed) for case in CASES for core, seed in zip(cycle(CORES[:3]), range(1, 4), strict=False)
]


def drawn(case: Case, core, seed: int) -> Schedule:
    sch = Schedule(function_of(case), seed=seed)
    workload = workload_of(sch)
    kinds()[workload.kind].space(sch, workload, core)
    return sch


@pytest.mark.emulator
@pytest.mark.parametrize(("case", "core", "seed"), POINTS, ids=str)
def test_drawn_point_replays_and_agrees_with_pytorch(case, core, seed):
    sch = drawn(case, core, seed)
    again = Schedule(function_of(case))
    Trace.apply_json_to_schedule(json.loads(json.dumps(_plain(sch.trace.as_json()))), again)
    tvm.ir.assert_structural_equal(again.mod, sch.mod)
    splice(again)
    agrees(case, core, again.mod["main"])


@pytest.mark.parametrize(("case", "core"), list(zip(CASES, cycle(CORES), strict=False)), ids=str)
def test_default_builds_for_its_core(case, core):
    scheduled = schedule_kernel(function_of(case), core).function.with_attr("global_symbol", "main")
    assert tvm.tirx.build(tvm.IRModule({"main": scheduled}), target=core.target())


def test_space_has_different_points():
    points = {str(drawn(CASES[0], CORES[0], seed).trace.as_json()) for seed in range(1, 20)}
    assert len(points) > 5


def test_metaschedule_draws_from_the_space():
    module = tvm.IRModule({"main": function_of(CASES[0])})
    context = TuneContext(module, target=CORES[0].target(), space_generator=space_generator(CORES[0]))
    (point,) = context.generate_design_space()
    assert point.trace.insts
    assert all(postproc.apply(point) for postproc in context.space_generator.postprocs)
    assert "armature_tile" in point.mod.script() or "vectorized" in point.mod.script()


def _plain(value):
    if isinstance(value, list | tuple | tvm.ir.Array):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "value"):
        return value.value
    return value
