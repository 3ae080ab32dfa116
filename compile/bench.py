"""What one inference of a bundle executes, kernel by kernel, on the emulated board.

Instructions and misses are counted; cycles are estimated from them, and say so wherever they go.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from compile.bench_report import BenchReport, Row
from compile.bundle import PROGRAM, Bundle
from compile.c_library.names import c_name, kernel_of_share, kernel_symbol
from compile.source import random_inputs
from targets.cores import Core, find_core
from targets.device import require_platform
from targets.emulated.estimate import Estimate, estimates
from targets.emulated.profile import REPEAT, Block, Caches, Profile, profile
from targets.emulated.spec import EMULATED, Emulated, find_emulated
from targets.errors import UserError
from targets.symbols import Functions

RUNTIME = "VM and runtime"
CALLS = "calls"
"""What is outside of the kernels, in a bundle and in a C library."""


def count(bundle: Bundle, device: str = "emulated", ghz: float | None = None) -> BenchReport:
    """Count what one inference of `bundle` executes and misses on the emulated board `device`.

    `ghz` is the clock for estimated times; None: the board's, where `device` names one. Raises UserError when
    `device` is no emulated board, or its core lacks what the bundle needs; DeviceError when the bundle fails
    there.
    """
    require_platform(EMULATED, bundle.platform)
    emulated = find_emulated(device, find_core(bundle.core))
    if emulated is None:
        raise UserError(
            f"{device} cannot count instructions: that needs the emulated board (--device emulated)."
        )
    emulated = replace(emulated, ghz=ghz or emulated.ghz)
    (report,) = _reports(bundle, emulated.core, [emulated])
    return report


def count_for_cores(bundle: Bundle, cores: Sequence[Core]) -> tuple[BenchReport, ...]:
    """The same, estimated for each of `cores` from one run: the code is that for the bundle's core.

    Raises UserError when one of the cores lacks what the bundle needs.
    """
    require_platform(EMULATED, bundle.platform)
    for core in cores:
        bundle.require_features(core.name, core.features)
    return tuple(_reports(bundle, find_core(bundle.core), [Emulated(core) for core in cores]))


def _reports(bundle: Bundle, core: Core, devices: Sequence[Emulated]) -> list[BenchReport]:
    """A report per device, from one profile on `core` with the caches of each."""
    found = profile_bundle(bundle, core, [Caches.of(device.core) for device in devices])
    shares = attribute(found, bundle)
    return [_report(bundle, device, shares, model) for model, device in enumerate(devices)]


def _report(
    bundle: Bundle,
    device: Emulated,
    shares: Mapping[str | None, Sequence[Block]],
    model: int,
) -> BenchReport:
    rows = [*_rows(bundle), Row(RUNTIME if bundle.needs_runtime else CALLS, "runtime")]
    groups = [*(shares.get(row.name, ()) for row in rows[:-1]), shares.get(None, ())]
    costs = estimates(groups, device.core, model)
    *kernels, runtime = (
        _counted(row, group, cost, model) for row, group, cost in zip(rows, groups, costs, strict=True)
    )
    return BenchReport(
        bundle=bundle.path,
        device=device,
        compiled_for=bundle.core,
        weights_bytes=bundle.manifest["weights"]["bytes"],
        peak_activation_bytes=bundle.manifest["peak_activation_bytes"],
        kernels=tuple(kernels),
        runtime=runtime,
        runtime_files=_by_file(groups[-1]),
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

    Raises UserError when the library does not say where its kernels lie, or ran others than the manifest's.
    """
    functions = Functions(bundle.library)
    kernels = _kernels(bundle, [function.name for function in functions.all])
    of_kernels = () if bundle.needs_runtime else tuple(_prefixes(bundle))
    library = bundle.library.resolve()
    shares: dict[str | None, list[Block]] = defaultdict(list)
    for block in found.blocks:
        function = functions.at(block.offset) if block.file == library else None
        name = function.name if function else ""
        if name not in kernels and name.startswith(of_kernels):
            raise UserError(
                f"{bundle.path} ran kernels for another of its cores, and its manifest tells those of "
                f"{bundle.core}: compile it for one core to count them."
            )
        shares[kernels.get(name)].append(block)
    return shares


def _kernels(bundle: Bundle, functions: Sequence[str]) -> dict[str, str]:
    """The kernel's name by each of the library's functions that is of a kernel."""
    names = {str(kernel["name"]) for kernel in bundle.manifest["kernels"]}
    kernel_of = _kernel_of if bundle.needs_runtime else partial(_c_kernel_of, _prefixes(bundle))
    pairs = ((function, kernel_of(function)) for function in functions)
    found = {function: kernel for function, kernel in pairs if kernel in names}
    if names and not any(function.endswith(_COMPUTES) or not bundle.needs_runtime for function in found):
        raise UserError(f"{bundle.path} does not name its kernels' code: compile it again.")
    return found


_COMPUTES = "_compute_"
"""TVM makes two functions of a kernel: one checks the arguments and calls the other, which computes."""


def _kernel_of(function: str) -> str:
    """The kernel that a function of a bundle's library is of, if it is of one."""
    return re.sub(r"\.\d+$", "", function).removeprefix("__tvm_ffi_").removesuffix(_COMPUTES)


def _c_kernel_of(prefixes: Sequence[str], function: str) -> str:
    """The same of a C library's, whose kernels' functions begin with one of `prefixes`."""
    prefix = next((each for each in prefixes if function.startswith(each)), "")
    return kernel_of_share(function.removeprefix(prefix))


def _prefixes(bundle: Bundle) -> list[str]:
    """What a C library's functions of kernels begin with, for each core."""
    name = c_name(bundle.manifest["model"])
    return [kernel_symbol(name, core, "") for core in bundle.cores]


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


def _counted(row: Row, blocks: Sequence[Block], cost: Estimate, model: int) -> Row:
    found = Profile(tuple(blocks), ())
    first, second = found.misses(model)
    return replace(
        row,
        instructions=found.instructions,
        l1_misses=first,
        l2_misses=second,
        core_cycles=cost.core_cycles,
        memory_cycles=cost.memory_cycles,
    )


def _by_file(blocks: Iterable[Block]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for block in blocks:
        found[block.file.name if block.file else "no file"] += block.instructions
    return dict(sorted(found.items(), key=lambda item: -item[1]))
