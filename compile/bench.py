"""What one inference of a bundle executes, kernel by kernel, on the emulated board.

Instructions and misses are counted; cycles are estimated from them, and say so wherever they go.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from compile.bundle import PROGRAM, Bundle
from compile.source import random_inputs
from targets.cores import Core, find_core
from targets.device import emulated_core
from targets.emulated.pricing import L1_MISS_CYCLES, L2_MISS_CYCLES, price, timing_model
from targets.emulated.profile import REPEAT, Block, Caches, Profile, profile
from targets.errors import UserError
from targets.symbols import Functions

RUNTIME = "VM and runtime"
LANES = 4
"""float32 multiply-adds of one 128-bit FMLA."""
RARE = 0.5
"""A block executed less often than this per inference belongs to loading, and is not priced."""


@dataclass(frozen=True)
class Row:
    """Counts per inference: of one kernel, in all its calls, or of all else, or of everything."""

    name: str
    kind: str
    shape: Mapping[str, int] = field(default_factory=dict)
    calls: int = 0
    multiply_adds: int = 0
    instructions: float = 0.0
    l1_misses: float = 0.0
    l2_misses: float = 0.0
    core_cycles: float = 0.0
    """Estimated, every access hitting the first-level cache."""

    @property
    def memory_cycles(self) -> float:
        """Estimated: what the misses add."""
        return self.l1_misses * L1_MISS_CYCLES + self.l2_misses * L2_MISS_CYCLES

    @property
    def cycles(self) -> float:
        """Estimated, in all."""
        return self.core_cycles + self.memory_cycles

    @property
    def instructions_per_multiply_add(self) -> float | None:
        """None where nothing is multiplied."""
        return self.instructions / self.multiply_adds if self.multiply_adds else None


@dataclass(frozen=True)
class BenchReport:
    """What was counted on `device`, an emulated board whose core has `caches`."""

    bundle: Path
    device: str
    core: str
    compiled_for: str
    caches: Caches
    timing: str
    """The core whose timing model priced the cycles."""
    fma_per_cycle: int
    kernels: tuple[Row, ...]
    """In the order in which they are first called."""
    runtime: Row
    """What is executed outside of the kernels."""
    runtime_files: Mapping[str, float]
    """Where: instructions by the name of the program or library, most first."""

    @property
    def kernels_total(self) -> Row:
        """All kernels together."""
        return _sum("kernels", self.kernels)

    @property
    def total(self) -> Row:
        """The inference."""
        return _sum("total", (*self.kernels, self.runtime))

    def share(self, row: Row) -> float:
        """The part of the inference's instructions that `row` has."""
        return row.instructions / self.total.instructions

    def peak(self, row: Row) -> float | None:
        """The part of the core's multiply-add peak that `row` reaches by its core cycles (estimated)."""
        if not row.multiply_adds or not row.core_cycles:
            return None
        return row.multiply_adds / (LANES * self.fma_per_cycle) / row.core_cycles

    def to_json(self) -> dict[str, Any]:
        """The report, JSON-ready."""
        return {
            "bundle": str(self.bundle),
            "device": self.device,
            "core": self.core,
            "compiled_for": self.compiled_for,
            "basis": "counted on the emulated board; not a time",
            "cycles_basis": f"estimated by the timing model of {self.timing}",
            "cycles_error": None,
            "caches": asdict(self.caches),
            "kernels": [self._row(row) for row in self.kernels],
            "runtime": self._row(self.runtime),
            "runtime_files": dict(self.runtime_files),
            "total": self._row(self.total),
            "kernels_share": self.share(self.kernels_total),
        }

    def _row(self, row: Row) -> dict[str, Any]:
        per = row.instructions_per_multiply_add
        return {
            **asdict(row),
            "memory_cycles": row.memory_cycles,
            "cycles": row.cycles,
            "fma_peak": self.peak(row),
            "instructions_per_multiply_add": per,
            "share": self.share(row),
        }


def count(bundle: Bundle, device: str = "emulated") -> BenchReport:
    """Count what one inference of `bundle` executes and misses on the emulated board `device`.

    Raises UserError when `device` is no emulated board, or its core lacks what the bundle needs;
    DeviceError when the bundle fails there.
    """
    core = emulated_core(device, find_core(bundle.core))
    if core is None:
        raise UserError(
            f"{device} cannot count instructions: that needs the emulated board (--device emulated)."
        )
    caches = Caches.of(core)
    found = profile_bundle(bundle, core, [caches])
    shares = attribute(found, bundle)
    prices = _prices(found, core)
    return BenchReport(
        bundle=bundle.path,
        device=f"emulated:{core.name}",
        core=core.name,
        compiled_for=bundle.core,
        caches=caches,
        timing=timing_model(core),
        fma_per_cycle=core.fma_per_cycle,
        kernels=tuple(_counted(row, shares[row.name], prices) for row in _rows(bundle)),
        runtime=_counted(Row(RUNTIME, "runtime"), shares[None], prices),
        runtime_files=_by_file(shares[None]),
    )


def profile_bundle(bundle: Bundle, core: Core, caches: Sequence[Caches]) -> Profile:
    """The profile of one inference of `bundle` on `core`, for random inputs that are always the same."""
    bundle.require_features(core.name, core.features)
    with tempfile.TemporaryDirectory(prefix="armature-bench-") as folder:
        inputs = [option for file in _write_inputs(bundle, Path(folder)) for option in ("--input", str(file))]
        command = [str((bundle.path / PROGRAM).absolute()), *inputs, "--repeat", REPEAT]
        return profile(core, command, caches)


def attribute(found: Profile, bundle: Bundle) -> dict[str | None, list[Block]]:
    """The blocks of each kernel of `bundle`, by its name; under None, those of no kernel.

    Raises UserError when the library does not say where its kernels lie.
    """
    names = {str(kernel["name"]) for kernel in bundle.manifest["kernels"]}
    functions = Functions(bundle.library)
    if names and not any(function.name.endswith("_compute_") for function in functions.all):
        raise UserError(f"{bundle.path} does not name its kernels' code: compile it again.")
    kernel_of = {function: _kernel_of(function.name, names) for function in functions.all}
    library = bundle.library.resolve()
    shares: dict[str | None, list[Block]] = defaultdict(list)
    for block in found.blocks:
        function = functions.at(block.offset) if block.file == library else None
        shares[kernel_of[function] if function else None].append(block)
    return shares


def _kernel_of(function: str, names: set[str]) -> str | None:
    """TVM makes two functions of a kernel: one checks the arguments and calls the other, which computes."""
    name = re.sub(r"\.\d+$", "", function).removeprefix("__tvm_ffi_")
    return next((part for part in (name, name.removesuffix("_compute_")) if part in names), None)


def _write_inputs(bundle: Bundle, folder: Path) -> list[Path]:
    (drawn,) = random_inputs(bundle.inputs, 1)
    files = [folder / f"{number}.bin" for number in range(len(drawn))]
    for file, values in zip(files, drawn, strict=True):
        values.tofile(file)
    return files


def _rows(bundle: Bundle) -> list[Row]:
    """A row per kernel, still without counts."""
    calls = Counter(str(kernel["name"]) for kernel in bundle.manifest["kernels"])
    first = {str(kernel["name"]): kernel for kernel in reversed(bundle.manifest["kernels"])}
    return [
        Row(name, first[name]["kind"], first[name]["shape"], number, first[name]["multiply_adds"] * number)
        for name, number in calls.items()
    ]


def _prices(found: Profile, core: Core) -> dict[bytes, float]:
    """Core cycles of one execution of each block that an inference executes."""
    codes = sorted({block.code for block in found.blocks if block.executions > RARE})
    return dict(zip(codes, price(codes, core), strict=True))


def _counted(row: Row, blocks: Iterable[Block], prices: Mapping[bytes, float]) -> Row:
    found = Profile(tuple(blocks), ())
    l1_misses, l2_misses = found.misses()
    cycles = sum(block.executions * prices.get(block.code, 0.0) for block in found.blocks)
    return replace(
        row,
        instructions=found.instructions,
        l1_misses=l1_misses,
        l2_misses=l2_misses,
        core_cycles=cycles,
    )


def _by_file(blocks: Iterable[Block]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for block in blocks:
        found[block.file.name if block.file else "no file"] += block.instructions
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _sum(name: str, rows: Sequence[Row]) -> Row:
    return Row(
        name,
        kind="",
        calls=sum(row.calls for row in rows),
        multiply_adds=sum(row.multiply_adds for row in rows),
        instructions=sum(row.instructions for row in rows),
        l1_misses=sum(row.l1_misses for row in rows),
        l2_misses=sum(row.l2_misses for row in rows),
        core_cycles=sum(row.core_cycles for row in rows),
    )
