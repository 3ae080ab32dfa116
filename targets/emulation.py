"""Whether a board that calls itself ARM is one: an emulator's wall time is nobody's latency."""

from __future__ import annotations

from collections.abc import Callable

from targets.board_state import BoardState

EM_AARCH64 = 183  # ELF for the Arm 64-bit Architecture, section 5.1
QEMU_COUNTER_HZ = 62_500_000
"""The generic timer of QEMU 7.2 (GTIMER_SCALE; some newer have 1 GHz); boards: 19.2, 24, 54, 1000 MHz."""
VIRTUAL = ("linux,dummy-virt", "QEMU")
"""Names of machines that are not silicon: QEMU's `virt`, in its device tree and in its firmware's tables."""


def why_emulated(state: BoardState) -> str | None:
    """How we know that an emulator runs the agent, in a few words; None where nothing says so."""
    return next((why for sign in _SIGNS if (why := sign(state)) is not None), None)


def is_virtual(state: BoardState) -> bool:
    """Whether it is a virtual machine, which may be emulated or not."""
    return state.model is not None and any(name in state.model for name in VIRTUAL)


# qemu-user answers a program that asks for its own files under /proc/self and /proc/PID, but not under
# /proc/thread-self (linux-user/syscall.c, is_proc_myself; seen with 7.2): there the kernel answers.


def _other_program(state: BoardState) -> str | None:
    known = bool(state.program and state.kernel_program)
    if known and state.program != state.kernel_program:
        return f"the kernel runs {state.kernel_program} and not the agent"
    return None


def _other_machine(state: BoardState) -> str | None:
    if state.kernel_machine not in (None, EM_AARCH64):
        return f"the program that the kernel runs is for ELF machine {state.kernel_machine}, not aarch64"
    return None


def _other_kernel(state: BoardState) -> str | None:
    if state.kernel_arch not in (None, "aarch64"):
        return f"its kernel is for {state.kernel_arch}"
    return None


def _x86(state: BoardState) -> str | None:
    return "its /proc/cpuinfo is an x86's" if state.x86_cpuinfo else None


def _declared(state: BoardState) -> str | None:
    return "whoever started its agent says so" if state.declared_emulated else None


def _emulated_machine(state: BoardState) -> str | None:
    if is_virtual(state) and state.counter_hz == QEMU_COUNTER_HZ:
        return f"it is {state.model} with QEMU's own counter of 62.5 MHz"
    return None


def _no_implementer(state: BoardState) -> str | None:
    """QEMU's `max` has no implementer in MIDR_EL1 (0x000f0510 in 7.2); silicon has (Arm ARM, D19.2)."""
    if any(cpu.core is not None and cpu.core.startswith("0x0:") for cpu in state.cpus):
        return "its CPU names no implementer, as QEMU's `max` does not"
    return None


_SIGNS: tuple[Callable[[BoardState], str | None], ...] = (
    _other_program,
    _other_machine,
    _other_kernel,
    _x86,
    _declared,
    _emulated_machine,
    _no_implementer,
)
