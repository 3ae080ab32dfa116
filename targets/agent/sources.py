"""What the board's program is made of: which of TVM's sources, our own, and how they are compiled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from targets.cache import content_key

# Under tvm_ffi/src/ffi of the apache-tvm-ffi wheel.
FFI_SOURCES = (
    "backtrace.cc",
    "container.cc",
    "custom_allocator.cc",
    "dtype.cc",
    "error.cc",
    "function.cc",
    "init_once.cc",
    "object.cc",
    "tensor.cc",
    "extra/env_c_api.cc",
    "extra/env_context.cc",
    "extra/json_parser.cc",
    "extra/json_writer.cc",
    "extra/library_module.cc",
    "extra/library_module_dynamic_lib.cc",
    "extra/module.cc",
    "extra/serialization.cc",
)

# Under tvm/src/runtime of the apache-tvm wheel.
RUNTIME_SOURCES = (
    "builtin_fp16.cc",
    "const_loader_module.cc",
    "cpu_device_api.cc",
    "device_api.cc",
    "file_utils.cc",
    "logging.cc",
    "module.cc",
    "static_library.cc",
    "tensor.cc",
    "thread_pool.cc",
    "threading_backend.cc",
    "timer.cc",
    "workspace_pool.cc",
    "memory/memory_manager.cc",
    "vm/builtin.cc",
    "vm/bytecode.cc",
    "vm/executable.cc",
    "vm/vm.cc",
    "rpc/rpc_channel.cc",
    "rpc/rpc_device_api.cc",
    "rpc/rpc_endpoint.cc",
    "rpc/rpc_event_impl.cc",
    "rpc/rpc_local_session.cc",
    "rpc/rpc_module.cc",
    "rpc/rpc_server_env.cc",
    "rpc/rpc_session.cc",
    "rpc/rpc_socket_impl.cc",
    "extra/contrib/random/random.cc",  # filling tensors before a measurement
    "extra/contrib/sort/sort.cc",  # argsort and topk of detection networks
)

COMMON_FLAGS = ("-Os", "-fPIC", "-ffunction-sections", "-fdata-sections", "-fvisibility=hidden", "-DNDEBUG")
CXX_FLAGS = (
    *COMMON_FLAGS,
    "-std=c++17",
    "-fvisibility-inlines-hidden",
    "-DTVM_FFI_USE_LIBBACKTRACE=0",
    "-DTVM_FFI_BACKTRACE_ON_SEGFAULT=0",
)
C_FLAGS = (*COMMON_FLAGS, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")
# TVM's symbols stay visible: a library loaded later is linked against this program.
LINK_FLAGS = ("-Os", "-rdynamic", "-Wl,--gc-sections", "-s")

_HERE = Path(__file__).parent
GAPS = _HERE / "gaps"
SRC = _HERE / "src"
TELLS_VERSIONS = "info.c"


@dataclass(frozen=True)
class Unit:
    """One file to compile.

    `name` is unique in the program; `reads` are the folders whose headers it may include.
    """

    name: str
    path: Path
    flags: tuple[str, ...]
    reads: tuple[Path, ...]


def wheel_folder(package: str) -> Path:
    """Where `package` (tvm or tvm_ffi) is installed, found without importing it."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed")
    return Path(spec.origin).parent


def units(tree: Path) -> Iterator[Unit]:
    """All files of the program; `tree` is TVM's source tree with the gaps filled (`build.py`)."""
    ffi = wheel_folder("tvm_ffi")
    ffi_headers = (ffi / "include", ffi / "3rdparty" / "dlpack" / "include")
    tvm_headers = (
        tree / "include",
        tree / "3rdparty" / "compiler-rt",
        wheel_folder("tvm") / "include",
    )
    # The bigger files first: with two compilers at a time they then end together.
    for name in sorted(FFI_SOURCES, key=lambda name: -(ffi / "src" / "ffi" / name).stat().st_size):
        yield Unit(f"ffi/{name}", ffi / "src" / "ffi" / name, CXX_FLAGS, ffi_headers)
    for name in RUNTIME_SOURCES:
        path = tree / "src" / "runtime" / name
        yield Unit(f"runtime/{name}", path, CXX_FLAGS, (*tvm_headers, *ffi_headers))
    for path in sorted(SRC.glob("*.c")):
        flags = (*C_FLAGS, *_versions()) if path.name == TELLS_VERSIONS else C_FLAGS
        yield Unit(f"agent/{path.name}", path, flags, (path.parent, *ffi_headers))


def agent_version() -> str:
    """The version that our sources give the agent."""
    found = re.search(r'AGENT_VERSION "([^"]+)"', (SRC / "agent.h").read_text())
    assert found is not None
    return found[1]


def agent_build() -> str:
    """A hash of our sources, which tells agents of one version apart."""
    return content_key(sorted(SRC.glob("*.[ch]")))[:8]


def runtime_version() -> str:
    """Of TVM's runtime in the agent, which is built from the wheel."""
    return version("apache-tvm")


def _versions() -> tuple[str, str]:
    return (f'-DAGENT_BUILD="{agent_build()}"', f'-DRUNTIME_VERSION="{runtime_version()}"')
