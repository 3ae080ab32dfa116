"""What straight-line AArch64 code costs a core, in cycles: a pure function of its bytes.

Out-of-order cores are priced by llvm-mca, in-order ones by a model of our own: docs/pricing.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from targets.cache import cached, content_key
from targets.cores import Core, lineage
from targets.emulated.pricing.decode import disassemble
from targets.emulated.pricing.inorder import cycles_in_order
from targets.emulated.pricing.instruction import parse
from targets.emulated.pricing.mca import MODELS, cycles_by_mca
from targets.emulated.pricing.rules import RULES
from targets.emulated.pricing.tools import newest_tool

L1_MISS_CYCLES = 4
"""What a miss of the first-level data cache adds, the second level holding the line (docs/pricing.md)."""
L2_MISS_CYCLES = 24
"""What a miss of both levels adds to that: no prefetcher is modelled, so it is less than a trip to memory."""

_HERE = Path(__file__).parent
_known: dict[tuple[str, bytes], float] = {}


def price(blocks: Sequence[bytes], core: Core, keep: bool = False) -> list[float]:
    """Cycles that one execution of each block takes when the block follows itself, from warm caches.

    A block is the code of one translation block. With `keep`, the prices of a whole batch are read from and
    kept in the user's cache. Raises UserError when LLVM's tools are missing or too old for the core.
    """
    model = timing_model(core)
    new = sorted({code for code in blocks if (model, code) not in _known})
    if new:
        prices = _kept(new, model) if keep else _compute(new, model)
        _known.update(((model, code), cycles) for code, cycles in zip(new, prices, strict=True))
    return [_known[model, code] for code in blocks]


def miss_cycles(core: Core, l1_misses: float, l2_misses: float) -> float:  # noqa: ARG001
    """Cycles that misses add: lines not in the first level, and those of them not in the second either.

    All cores are given the same costs for now.
    """
    return l1_misses * L1_MISS_CYCLES + l2_misses * L2_MISS_CYCLES


def timing_model(core: Core) -> str:
    """The core whose timing serves this one: itself, or the nearest it is like that has a model."""
    return next(row.name for row in lineage(core) if row.name in RULES or row.name in MODELS)


def _compute(codes: Sequence[bytes], model: str) -> list[float]:
    texts = disassemble(codes)
    if model in RULES:
        parsed = {text: parse(text) for text in {line for lines in texts for line in lines}}
        return [cycles_in_order([parsed[line] for line in lines], RULES[model]) for lines in texts]
    return cycles_by_mca(texts, MODELS[model])


def _kept(codes: Sequence[bytes], model: str) -> list[float]:
    """The prices, computed once for this batch, this source code and these tools."""
    tools = [newest_tool("llvm-mc").said, "" if model in RULES else newest_tool("llvm-mca").said]

    def build(place: Path) -> None:
        place.write_text(json.dumps(_compute(codes, model)))

    key = content_key([model, *tools, *sorted(_HERE.glob("*.py")), *codes])
    prices: list[float] = json.loads(cached("prices", f"{key}.json", build).read_text())
    return prices
