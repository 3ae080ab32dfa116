"""What is run on a board, by a POSIX shell; and what it answers.

A script is one line without '!', which every login shell takes in single quotes.
"""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass

from targets.parts import core_name
from targets.shell.kit import PROGRAM, Kit

READY = "armature-ready"
WHOLE = "whole"
"""What is said to a shell that waits for files, once they are there."""

HOLD = f"echo {READY}; exec cat"
"""Keeps the link up until its input ends."""


def probe(folder: str, digest: str) -> str:
    """Says what the board is, `NAME VALUE` a line. The agents' `folder` there is in the shell's words."""
    return _sh(
        f"d={folder}; echo system $(uname -s); echo machine $(uname -m); "
        'mkdir -p "$d" && echo free $(df -Pk "$d" | tail -n 1); '
        f'test -x "$d/{digest}/{PROGRAM}" && echo agent yes; '
        "grep -E '^(CPU implementer|CPU part)' /proc/cpuinfo | tr '\\t' ' ' | sed 's/^/cpuinfo /'; "
        "for f in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; "
        'do test -r "$f" && echo khz $(cat "$f"); done; '
        "echo memory $(grep MemTotal /proc/meminfo); echo end"
    )


def survey() -> str:
    """Says how the board is now: lines as the agent's (targets/agent/src/board_state.h), and the places that
    agents have in its queue.
    """
    cpus, thermal = "/sys/devices/system/cpu", "/sys/class/thermal"
    clocks = "scaling_governor scaling_cur_freq scaling_max_freq cpuinfo_min_freq cpuinfo_max_freq"
    return _sh(
        'say() { for f in $1; do test -r $f && sed -n "s|^$2|$f &|p" $f 2>/dev/null; done; }; '
        f"say {cpus}/online; say '{cpus}/cpu[0-9]*/regs/identification/midr_el1'; "
        f'for n in {clocks}; do say "{cpus}/cpu[0-9]*/cpufreq/$n"; done; '
        f'for n in type temp; do say "{thermal}/thermal_zone[0-9]*/$n"; done; '
        "say /proc/cpuinfo processor; say /proc/cpuinfo 'CPU implementer'; say /proc/cpuinfo 'CPU part'; "
        "say /proc/cpuinfo vendor_id; say /proc/loadavg; say /proc/meminfo MemAvailable; "
        "grep -o '@armature-agent-.*' /proc/net/unix; true"
    )


def take(folder: str, kit: Kit) -> str:
    """Stores standard input as the agent, whole or not at all: what is cut short leaves nothing."""
    return _sh(
        f"d={folder}; {_clean(f'{kit.digest}/.new-', 'rm -f')}; umask 077; "
        f'mkdir -p "$d/{kit.digest}" || exit 1; '
        f'n="$d/{kit.digest}/.new-$$"; '
        "trap 'rm -f \"$n\"' EXIT; trap 'exit 1' HUP INT TERM; "
        f'cat > "$n" && test $(wc -c < "$n") -eq {kit.sizes[PROGRAM]} && chmod 700 "$n" && '
        f'mv -f "$n" "$d/{kit.digest}/{PROGRAM}"'
    )


def receive(folder: str, kit: Kit) -> str:
    """Names a new folder for the kit's files, which is theirs once they are said to be there and are whole;
    otherwise it is removed.
    """
    whole = " && ".join(f'test $(wc -c < "$n/{name}") -eq {size}' for name, size in kit.sizes.items())
    return _sh(
        f'd={folder}; {_clean(".new-", "rm -rf")}; umask 077; n="$d/.new-$$"; '
        "trap 'rm -rf \"$n\"' EXIT; trap 'exit 1' HUP INT TERM; "
        f'mkdir -p "$n" || exit 1; echo "$n"; read w && test "$w" = {WHOLE} || exit 1; '
        f'{whole} && chmod 700 "$n"/* || exit 1; '
        f'test -e "$d/{kit.digest}" || mv "$n" "$d/{kit.digest}"'
    )


def start(folder: str, kit: Kit, prefix: tuple[str, ...]) -> str:
    """Runs the agent in a folder that is gone afterwards, as are those of agents that were killed."""
    words = " ".join(shlex.quote(word) for word in prefix)
    return _sh(
        f"d={folder}; {_clean('work-', 'rm -rf')}; "
        'w="$d/work-$$"; mkdir -m 700 "$w" || exit 1; trap "" HUP INT TERM; '
        f'{words} {kit.command(f"$d/{kit.digest}")} serve --with-stdin --take-turns --work-dir "$w"; '
        's=$?; rm -rf "$w"; exit $s'
    )


def _clean(name: str, remove: str) -> str:
    """Removes what shells that run no more have left; their number is the end of its name."""
    return f'for n in "$d"/{name}*; do kill -0 "${{n##*-}}" 2>/dev/null || {remove} "$n"; done'


def _sh(script: str) -> str:
    assert "!" not in script and "\n" not in script
    return f"exec sh -c {shlex.quote(script)}"


@dataclass(frozen=True)
class Facts:
    """What a board said of itself."""

    system: str
    machine: str
    has_agent: bool
    free_kib: int | None
    """Where the agent is stored."""
    cores: tuple[str, ...]
    """The design of each CPU; empty where it is not told."""
    clocks: tuple[int, ...]
    """The highest of each CPU in kHz."""
    memory_kib: int | None

    @property
    def description(self) -> str:
        """For people."""
        designs = ", ".join(f"{count} x {name}" for name, count in Counter(self.cores).items())
        clock = f" at up to {max(self.clocks) / 1e6:.1f} GHz" if self.clocks else ""
        memory = f", {self.memory_kib / 2**20:.1f} GiB" if self.memory_kib else ""
        return f"{self.machine} board with {designs or 'CPUs it does not name'}{clock}{memory}"


def parse_facts(text: str) -> Facts | None:
    """The facts in a probe's output; None where it has not come to its end."""
    rows = [line.split(None, 1) for line in text.splitlines()]
    said = {
        name: [row[1] for row in rows if len(row) == 2 and row[0] == name]
        for name in {r[0] for r in rows if r}
    }
    if ["end"] not in rows or "system" not in said:
        return None
    fields = said.get("cpuinfo", [])
    implementers, parts = _numbers(fields, "CPU implementer"), _numbers(fields, "CPU part")
    free, memory = (" ".join(said.get(name, [])).split() for name in ("free", "memory"))
    return Facts(
        said["system"][0],
        said.get("machine", ["?"])[0],
        "agent" in said,
        int(free[3]) if len(free) > 3 and free[3].isdecimal() else None,
        tuple(map(core_name, implementers, parts)),
        tuple(int(khz) for khz in said.get("khz", []) if khz.isdecimal()),
        int(memory[1]) if len(memory) > 1 and memory[1].isdecimal() else None,
    )


def _numbers(fields: list[str], name: str) -> list[int]:
    values = [field.partition(":")[2].strip() for field in fields if field.startswith(name)]
    return [int(value, 0) for value in values if value]
