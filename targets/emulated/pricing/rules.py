"""The in-order cores as data: how many instructions go in a cycle, which go together, how long results take.

Sources: [R] REFERENCE's rules, quoted in docs/pricing.md; [A53], [A55], [A510] LLVM's AArch64SchedA53.td,
AArch64SchedA55.td and AArch64SchedA510.td, which quote Arm's optimisation guides; [?] our guess.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Rules:
    """One in-order core. Cycles unless it says otherwise."""

    width: int  # instructions issued in a cycle
    memory: int  # memory operations issued in a cycle
    neon: int  # 64-bit NEON operations in a cycle; a 128-bit one counts as two
    insert: int  # of those, what `ins` from a general register takes
    load_bits: int  # moved in a cycle; a NEON load of more issues alone, for as many cycles as it needs
    store_bits: int  # moved in a cycle; a store of more keeps the memory port busy
    never: frozenset[frozenset[str]]  # kinds that do not issue in one cycle
    latency: dict[str, int]  # from issue to use, by kind; of a memory operation of one cycle
    mac_elsewhere: int  # from a multiply-add to a use that is not the next one's accumulator
    divide: dict[tuple[str, bool], tuple[int, int]]  # (kind, double) -> latency, cycles until the next


CORTEX_A53 = Rules(
    width=2,  # [R]
    memory=1,  # [R]
    neon=2,  # [R]
    insert=1,  # so that it goes with a 64-bit load and not with a 128-bit fmla [R]
    load_bits=64,  # [R]: a 128-bit load takes two issue cycles alone, ldp q four
    store_bits=128,  # [A53] WriteSTP and WriteVST1: one cycle
    never=frozenset(
        {
            frozenset({"mac", "load_neon"}),  # [R]; fmla and an integer load do go together
            frozenset({"insert"}),  # two of them [?]
            frozenset({"mul"}),  # one multiplier [A53]
            frozenset({"branch"}),  # one branch unit [A53]
        }
    ),
    latency={
        "alu": 1,  # [A53] WriteI 3 less ReadI 2
        "mul": 3,  # [A53] WriteIM 4 less ReadIM 1
        "load": 3,  # [R]
        "load_neon": 4,  # [R]
        "mac": 4,  # to the accumulator [R]
        "fp": 4,  # [R]
        "vector": 3,  # [A53] integer NEON: simple 2, others 3
        "insert": 3,  # [A55] as a move from a general register
        "store": 1,  # of the status a store-exclusive writes
        "store_neon": 1,
        "branch": 1,
    },
    mac_elsewhere=8,  # [R]
    divide={
        ("fdiv", False): (18, 14),  # [A53] WriteFDivSP
        ("fdiv", True): (33, 29),  # [A53] WriteFDivDP
        ("div", False): (4, 4),  # [A53] WriteID32
        ("div", True): (4, 4),
    },
)

CORTEX_A55 = replace(
    CORTEX_A53,
    insert=0,  # goes with fmla [R]
    never=CORTEX_A53.never - {frozenset({"mac", "load_neon"})},
    latency=CORTEX_A53.latency | {"load_neon": 3},  # [R]
    mac_elsewhere=4,  # [R]
    divide={
        ("fdiv", False): (13, 10),  # [A55] WriteFDivSP
        ("fdiv", True): (22, 19),  # [A55] WriteFDivDP
        ("div", False): (8, 8),  # [A55] WriteID32
        ("div", True): (8, 8),
    },
)

# Nothing was measured on these; each is its nearest with the widths that are known. A510 and A520 issue
# three, have two load pipes and 128-bit paths ([A510]: IssueWidth, UnitLdSt + UnitLd1) and two 128-bit vector
# pipes (targets/cores.py), which two cores may share: no sharing is priced. A320 has one such pipe.
CORTEX_A510 = replace(
    CORTEX_A55,
    width=3,
    memory=2,
    neon=4,
    load_bits=128,
    latency=CORTEX_A55.latency | {"load": 2},  # [A510] WriteLD
)

RULES: dict[str, Rules] = {
    "cortex-a35": CORTEX_A53,
    "cortex-a53": CORTEX_A53,
    "cortex-a55": CORTEX_A55,
    "cortex-a320": replace(CORTEX_A510, width=2, memory=1, neon=2),
    "cortex-a510": CORTEX_A510,
    "cortex-a520": CORTEX_A510,
}
