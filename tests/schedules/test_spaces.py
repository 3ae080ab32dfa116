"""Points of every kind's space: traces replay them, they build, and compute what their kernel defines."""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import count, cycle, product

import numpy as np
import pytest
import tvm
from reference import Case, function_of
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule import TuneContext
from tvm.s_tir.schedule import Trace
from tvm.tirx import PrimFunc

from compile.passes.schedule_kernels import laid_out
from schedules import argmax, concat, interleave, planar, resize
from schedules.apply import apply, decide, schedule_kernel
from schedules.block import Bottleneck, Expansion
from schedules.chain import define
from schedules.microkernel import STYLES, Tile, rounds_of, styles_of
from schedules.pointwise import ROWS
from schedules.search import recorded, space_generator
from schedules.space import Given, InadmissibleError, Sampled, draws_of
from schedules.window import Window
from targets.cores import Core, find_core
from tests.boards import run_kernel

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
    Case("stem", (1, 3, 15, 18), 24, Window((3, 3), (2, 2), (1, 1, 1, 1))),
    Case("conv", (1, 7, 5, 6), 16, WINDOW),
    Case("dense", (1, 33), 70),
    Case("pool", (1, 48, 9, 9), 0, WINDOW),
]
BLOCKS = [
    Bottleneck(
        batch=1,
        size=(12, 14),
        middle=middle,
        outputs=12,
        window=Window((3, 3), (stride, stride), (1, 1, 1, 1)),
        clamp=(0.0, 6.0),
        output_clamp=(-math.inf, math.inf),
        expansion=expansion,
        shortcut=shortcut,
    )
    for middle, stride, shortcut, expansion in (
        (48, 1, True, Expansion(12, (12, 14), Window((1, 1)), (0.0, 6.0), True)),
        (36, 2, False, Expansion(10, (12, 14), Window((1, 1)), (0.0, 6.0), True)),
        (24, 1, False, Expansion(3, (24, 28), Window((3, 3), (2, 2), (1, 1, 1, 1)), (0.0, 6.0), False)),
        (20, 1, True, None),
    )
]


def resized(channels: int) -> PrimFunc:
    data = te.placeholder((1, 5, 6, channels), name="data")
    rows, columns = (te.placeholder((2, extent), "int32", "source") for extent in (9, 11))
    weights = [te.placeholder((extent,), name="weight") for extent in (9, 11)]
    tensors = [data, rows, weights[0], columns, weights[1]]
    return te.create_prim_func([*tensors, resize.define_bilinear(*tensors)])


def shuffled(channels: int) -> PrimFunc:
    images = [te.placeholder((1, 5, 7, channels), name="image") for _ in range(3)]
    return te.create_prim_func([*images, interleave.define_channels(images, 3)])


# Made anew for each schedule: replaying a trace that annotates the root block changes the function itself
# (MetaSchedule copies for this reason: DeepCopyIRModule in src/s_tir/meta_schedule/utils.h).
KERNELS = {str(case): partial(function_of, case) for case in CASES}
KERNELS |= {str(each.workload()): partial(define, each) for each in BLOCKS}
KERNELS |= {
    "resize": partial(resized, 32),
    "argmax": partial(argmax.define, (1, 5, 18, 24), "int64"),
    "argmax_resized": partial(argmax.define_resized, (1, 5, 6, 24), (9, 21), "uint8"),
    "planar": partial(planar.define, (1, 6, 7, 21)),
    "planar_resized": partial(planar.define_resized, (1, 5, 6, 7), (9, 21)),
    "concat": partial(concat.define, 35, [21, 16, 3]),
    "interleave": partial(shuffled, 18),
}
POINTS = list(zip(KERNELS, cycle(CORES), count(1), strict=False))
POINTS += list(zip(KERNELS, cycle(CORES[::-1]), count(50), strict=False))


def drawn(function: PrimFunc, core: Core, seed: int) -> Schedule:
    sch = Schedule(function, seed=seed)
    decide(sch, core, Sampled(sch))
    return sch


def stored(trace: Trace) -> object:
    """A trace as a record keeps it."""
    return json.loads(json.dumps(_plain(trace.as_json())))


@pytest.mark.emulator
@pytest.mark.parametrize(("name", "core", "seed"), POINTS, ids=str)
def test_drawn_point_replays_and_computes_what_is_defined(name, core, seed):
    sch = drawn(KERNELS[name](), core, seed)
    again = Schedule(KERNELS[name]())
    Trace.apply_json_to_schedule(stored(sch.trace), again)
    assert draws_of(again) == draws_of(sch)
    apply(again, core, Given(draws_of(again)))
    assert_same(KERNELS[name](), again.mod["main"], core)


def assert_same(defined: PrimFunc, scheduled: PrimFunc, core: Core) -> None:
    random = np.random.default_rng(0)
    *parameters, output = defined.params
    inputs = [_drawn(random, parameter) for parameter in parameters]
    expected = tvm.runtime.tensor(np.zeros(_shape(output), str(output.ty.dtype)))
    plain = tvm.IRModule({"main": defined.with_attr("global_symbol", "main")})
    tvm.tirx.build(plain, target="llvm")["main"](*map(tvm.runtime.tensor, inputs), expected)
    wanted = [_shape(parameter) for parameter in scheduled.params]
    packed = [laid_out(value, shape) for value, shape in zip(inputs, wanted, strict=False)]
    dtypes = [str(parameter.ty.dtype) for parameter in scheduled.params]
    written = [np.full(shape, 77, dtype) for shape, dtype in zip(wanted, dtypes, strict=True)][len(inputs) :]
    result = run_kernel(scheduled, core, [*packed, *written])[len(inputs)]
    bound = 1e-5 * max(1.0, float(np.abs(expected.numpy()).max()))
    np.testing.assert_allclose(result, expected.numpy(), atol=10 * bound, rtol=0)


class Wished:
    """Decides for what is wished, where that is a candidate."""

    def __init__(self, **wishes: int) -> None:
        self.wishes = wishes

    def choose(self, name, candidates):
        """The wish, or the first candidate."""
        wanted = self.wishes.get(name)
        return wanted if wanted in list(candidates) else candidates[0]


@pytest.mark.emulator
@pytest.mark.parametrize("columns", [8, 12, 16])
@pytest.mark.parametrize("core", CORES, ids=lambda core: core.name)
def test_every_written_out_pointwise_tile_is_right(core, columns):
    turns = {style: cycle(rounds_of(STYLES[style])) for style in styles_of(core)}
    for style, rows in product(turns, ROWS):
        rounds = next(turns[style])
        if not Tile(rows, columns, 52, 52, STYLES[style], rounds).fits:
            continue
        function = function_of(Case("pointwise", (1, 52, 2, rows), 48, residual=True))
        wished = Wished(columns=columns, rows=rows, load_style=style, rounds=rounds)
        scheduled = schedule_kernel(function, core, wished).function
        assert f"armature_tile_{rows}x{columns}x52_52_{STYLES[style]}_{rounds}_" in scheduled.script()
        assert_same(function, scheduled, core)


@pytest.mark.parametrize(("name", "core"), list(zip(KERNELS, cycle(CORES), strict=False)), ids=str)
def test_default_builds_for_its_core(name, core):
    scheduled = schedule_kernel(KERNELS[name](), core).function.with_attr("global_symbol", "main")
    assert tvm.tirx.build(tvm.IRModule({"main": scheduled}), target=core.target())


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_has_different_points(name):
    points = {str(draws_of(drawn(KERNELS[name](), CORES[0], seed))) for seed in range(1, 30)}
    assert len(points) >= 3


def test_draw_of_another_space_is_refused_by_name():
    function = KERNELS[str(CASES[0])]()
    with pytest.raises(InadmissibleError, match="columns is 10, but may be"):
        apply(Schedule(function), CORES[0], Given({"columns": 10}))


@pytest.mark.parametrize("name", [str(CASES[0]), str(BLOCKS[0].workload())])
def test_metaschedule_searches_the_space(name):
    def module():
        return tvm.IRModule({"main": KERNELS[name]().with_attr("global_symbol", "main")})

    generator = space_generator(CORES[0])
    context = TuneContext(module(), target=CORES[0].target(), space_generator=generator)
    (point,) = context.generate_design_space()
    (postproc,), (mutator,) = generator.postprocs, generator.mutator_probs
    changed = mutator.apply(point.trace)
    assert stored(changed) != stored(point.trace)
    before = draws_of(point)
    assert postproc.apply(point)
    again = Schedule(module())
    changed.apply_to_schedule(again, remove_postproc=True)
    after = draws_of(again)
    assert sum(before[draw] != after[draw] for draw in before) == 1


def test_point_that_was_chosen_has_a_trace_as_if_it_were_drawn():
    name = str(BLOCKS[0].workload())
    draws = draws_of(drawn(KERNELS[name](), CORES[2], 7))
    again = recorded(Schedule(KERNELS[name]()), CORES[2], Given(draws))
    assert draws_of(again) == draws
    assert len(again.trace.insts) >= 2 * len(draws)


def test_draws_that_do_not_go_together_are_refused():
    (postproc,) = space_generator(CORES[0]).postprocs
    point = drawn(KERNELS[str(CASES[0])](), CORES[0], 1)
    point.annotate(point.get_sblock("root"), "armature.draw.columns", 1000)
    assert not postproc.apply(point)


def _drawn(random: np.random.Generator, parameter: tirx.Var) -> np.ndarray:
    """Numbers, or positions that every image has."""
    shape, dtype = _shape(parameter), str(parameter.ty.dtype)
    return (
        random.standard_normal(shape).astype(dtype)
        if dtype == "float32"
        else random.integers(0, 4, shape, dtype)
    )


def _shape(parameter: tirx.Var) -> tuple[int, ...]:
    return tuple(int(extent) for extent in parameter.ty.shape)


def _plain(value):
    if isinstance(value, list | tuple | tvm.ir.Array):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "value"):
        return value.value
    return value
