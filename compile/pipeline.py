"""The stages of a compile, one after the other: trace, lower, build, bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tvm import ir

from compile import bundle
from compile.build import build_library
from compile.c_library.build import build_c_library
from compile.frontend import trace
from compile.labels import own_text
from compile.lower import Lowered, lower
from compile.manifest import describe, interface_text
from compile.own_sources import remember
from compile.source import Artifact, Source
from targets.agent.build import build_agent
from targets.cores import Core
from targets.platforms import LINUX_ARM, Platform
from targets.runner.build import build_runner, has_runner

Stage = Callable[[str], AbstractContextManager[object]]
"""Called with a stage's name, gives the context in which it runs: how progress is shown."""


Lowering = Callable[[ir.IRModule, Core], Lowered]
"""From a Relax module to scheduled kernels for a core."""


def compile_model(
    source: Source,
    core: Core,
    output: Path,
    stage: Stage,
    lowering: Lowering = lower,
    artifact: Artifact = "bundle",
    platform: Platform = LINUX_ARM,
    threads: int = 1,
    others: Sequence[Core] = (),
) -> bundle.Bundle:
    """Compile the network that `source` names for `core` on `platform`, into a folder at `output` that holds
    `artifact`; a bundle is for LINUX_ARM alone. So many threads at most share a run of a C library,
    which has kernels for `others` too.

    Raises UserError for what the user can mend. Nothing is left at `output` when it fails.
    """
    bundle.require_free(output)
    with stage("trace"):
        traced = trace(source)
        remember(source)
    with stage("import"):
        module = traced.relax()
    with stage("lower"):
        lowered = lowering(module, core)
        variants = [(core, lowered), *((other, lowering(module, other)) for other in others)]
    with bundle.new_bundle(output) as folder:
        description = describe(source, traced, lowered, core, platform, others)
        with stage("build"):
            if artifact != "c-library":
                build_library(lowered, core, folder / bundle.LIBRARY)
            if artifact != "bundle":
                build_c_library(variants, platform, description, folder, threads)
        with stage("bundle"):
            if own_labels := own_text(traced.labels):
                (folder / bundle.LABELS).write_text(own_labels, encoding="utf-8")
            if artifact != "c-library":
                shutil.copy(build_agent(), folder / bundle.PROGRAM)
                (folder / bundle.INTERFACE).write_text(interface_text(traced), encoding="utf-8")
            elif has_runner(platform):
                shutil.copy(build_runner(platform), folder / bundle.PROGRAM)
            manifest = bundle.write_manifest(folder, description)
    return bundle.Bundle(output, manifest)
