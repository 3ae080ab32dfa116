"""The depthwise step written out: a few outputs of a row by four channels, as LLVM IR around assembly.

LLVM merges what border and interior steps have in common into small blocks with branches between them, and
loads 128 bits at a time. Here every kind of step is straight code: the taps that lie outside are left out,
filters of few taps stay in registers between steps, and loads go among multiply-adds in the core's `style`.
"""

from __future__ import annotations

from schedules.finish import BIAS
from schedules.inline import HEADER, call, stored
from schedules.issue import FIRST_SCRATCH, SCRATCHES, Issue
from schedules.microkernel import VECTOR
from schedules.operands import CENTRE
from schedules.step import REACH, WEIGHTS, Step

LOAD = "armature_load"
"""The function that loads four channels of a tap."""


def llvm_ir(step: Step) -> str:
    """LLVM IR of `void NAME(sums, weights, rows..., kept...)`, with `Finish.parameters` instead of `sums`.

    Results go to the output, or to `sums` [columns][LANES].

    Each of `rows`, one per row of the window that is inside the image, points at its first pixel inside.
    `kept` are vectors: four channels of each tap of the filter, and the bias if `Step.bias` has a register.
    A filter that does not stay in registers is at `weights`, its first row inside; of others there is none.
    """
    finish = step.finish
    rows = {f"x{at}": f"%row{row}" for at, (row, _) in enumerate(step.bases)}
    body, arguments = finish.arguments(rows | ({WEIGHTS[0]: "%weights"} if step.streams else {}))
    arguments = {
        register: value for register, value in arguments.items() if register != BIAS or step.bias is None
    }
    for at, (_, part) in enumerate(step.bases):
        moved = part * REACH + CENTRE * (step.style == VECTOR)
        body += f"  %b{at} = add i64 %x{at}, {moved}\n"
        arguments[f"x{at}"] = f"%b{at}"
    if step.streams:
        body += f"  %next_weights = add i64 %{WEIGHTS[0]}, {step.weights_row}\n"
        arguments[WEIGHTS[1]] = "%next_weights"
    sums = [] if finish.stored else list(range(step.first_sum, step.first_sum + step.columns))
    used = range(step.first_sum, step.temporaries.stop)
    clobbers = [f"v{register}" for register in used if register not in sums]
    clobbers += [f"x{FIRST_SCRATCH + at}" for at in range(SCRATCHES)]
    kept = [f"%kept{at}" for at in range(step.first_sum)]
    body += call(assembly(step), sums, arguments, clobbers, kept=kept) + stored(len(sums), len(arguments))
    parameters = [finish.parameters, *(["ptr %weights"] if step.streams else [])]
    parameters += [f"ptr %row{row}" for row in range(step.taps[1] - step.taps[0])]
    parameters += [f"<4 x float> {name}" for name in kept]
    return (
        f"{HEADER}define void @{step.name}({', '.join(parameters)}) alwaysinline {{\n{body}  ret void\n}}\n"
        f"define <4 x float> @{LOAD}(ptr %at) alwaysinline {{\n"
        "  %value = load <4 x float>, ptr %at, align 4\n  ret <4 x float> %value\n}\n"
    )


def assembly(step: Step) -> list[str]:
    """The instructions, one a line: filter in v0 and up, then the bias, sums, pixels."""
    lines = Issue(step).lines()
    sums = [[step.first_sum + column] for column in range(step.columns)]
    return lines + step.finish.lines(sums, step.temporaries)
