"""Metrics and agreement, held against what is worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compile.datasets import Dataset, Sample
from compile.datasets.boxes import Box
from compile.placement import place
from compile.tasks import TASKS, agreement, segment, task_of_outputs
from compile.tasks.average_precision import average_precision
from compile.tasks.boxes import Boxes, iou, match
from compile.tasks.detect import compare

SQUARE = place("stretch", (100, 100), (50, 50), 0)


def _box(x1, y1, x2, y2, label=0, ignored=False):
    return Box((x1, y1, x2, y2), label, ignored)


def test_precision_falls_where_a_wrong_box_comes_between():
    """Recall 0.5 at precision 1, then 1 at 2/3: of the 101 points of COCO's curve 51 and 50."""
    truth = [[_box(0, 0, 10, 10), _box(20, 20, 40, 40)]]
    found = [[(0, 0, 10, 10, 0.9, 0), (60, 60, 80, 80, 0.8, 0), (20, 20, 40, 40, 0.7, 0)]]
    expected = (51 + 50 * 2 / 3) / 101
    precision = average_precision(truth, found)
    assert (precision["ap"], precision["ap50"]) == pytest.approx((expected, expected))
    assert precision["ap_by_class"] == pytest.approx({0: expected})


def test_precision_depends_on_overlap():
    """IoU 0.72 is enough at five of ten thresholds."""
    found = average_precision([[_box(0, 0, 100, 100)]], [[(0, 0, 72, 100, 0.9, 0)]])
    assert found["ap"] == pytest.approx(0.5) and found["ap50"] == pytest.approx(1)


def test_classes_are_averaged_and_must_be_right():
    truth = [[_box(0, 0, 10, 10, 0), _box(20, 20, 40, 40, 3)]]
    found = average_precision(truth, [[(0, 0, 10, 10, 0.9, 0), (20, 20, 40, 40, 0.9, 1)]])
    assert found["ap_by_class"] == pytest.approx({0: 1, 3: 0}) and found["ap"] == pytest.approx(0.5)


def test_ignored_boxes_count_neither_way():
    truth = [[_box(0, 0, 10, 10), _box(50, 50, 90, 90, ignored=True)]]
    found = [[(50, 50, 90, 90, 0.9, 0), (0, 0, 10, 10, 0.8, 0)]]
    assert average_precision(truth, found)["ap"] == pytest.approx(1)


def test_nothing_found_and_nothing_to_find():
    assert average_precision([[_box(0, 0, 10, 10)], []], [[], []])["ap"] == pytest.approx(0)
    assert average_precision([[]], [[(0, 0, 1, 1, 0.9, 0)]]) is None
    assert average_precision([[_box(0, 0, 9, 9, ignored=True)]], [[]]) is None


def test_pycocotools_is_quiet(capsys):
    average_precision([[_box(0, 0, 10, 10)]], [[]])
    assert capsys.readouterr().out == ""


def test_iou_by_hand():
    ours = np.array([[0, 0, 2, 2], [0, 0, 0, 0]])
    theirs = np.array([[1, 0, 3, 2], [5, 5, 6, 6], [0, 0, 0, 0]])
    assert iou(ours, theirs) == pytest.approx(np.array([[1 / 3, 0, 0], [0, 0, 1]]))


def _boxes(rows):
    rows = np.array(rows, float).reshape(-1, 6)
    return Boxes(rows[:, :4], rows[:, 4], rows[:, 5].astype(int))


corners = st.tuples(*[st.floats(0, 0.5)] * 2, *[st.floats(0.55, 1)] * 2)
rows = st.lists(
    st.tuples(corners, st.floats(0, 1), st.integers(0, 3)), max_size=8, unique_by=lambda row: row[0]
)


@given(rows, st.randoms())
def test_boxes_match_themselves_in_any_order(found, random):
    ours = [[*box, score, label] for box, score, label in found]
    theirs = random.sample(ours, len(ours))
    matched = match(_boxes(ours), _boxes(theirs))
    assert matched.pairs == len(ours) and matched.same_labels
    assert matched.min_iou == pytest.approx(1) and matched.max_score_error == 0


def test_two_classes_at_one_place_are_told_apart():
    ours = _boxes([[0, 0, 1, 1, 0.9, 0], [0, 0, 1, 1, 0.8, 1]])
    theirs = _boxes([[0, 0, 1, 1, 0.8, 1], [0, 0, 1, 1, 0.9, 0]])
    assert match(ours, theirs).same_labels and match(ours, theirs).max_score_error == 0


def _outputs(*found, count=None):
    """A detector's, of rows x1, y1, x2, y2, score, label."""
    table = np.zeros((4, 6), np.float32)
    table[:, 5] = -1
    table[: len(found)] = np.reshape(found, (-1, 6))
    number = len(found) if count is None else count
    return (
        table[None, :, :4],
        table[None, :, 4],
        table[None, :, 5].astype(np.int32),
        np.array([number], np.int32),
    )


ONE = (0.1, 0.1, 0.5, 0.5, 0.9, 2)


@pytest.mark.parametrize(
    ("device", "passes"),
    [
        (_outputs(ONE), True),
        (_outputs((0.1, 0.1, 0.501, 0.501, 0.9, 2)), True),
        (_outputs((0.1, 0.1, 0.51, 0.5, 0.9, 2)), False),
        (_outputs((0.1, 0.1, 0.5, 0.5, 0.9, 1)), False),
        (_outputs((0.1, 0.1, 0.5, 0.5, 0.89, 2)), False),
        (_outputs((0.1, 0.1, np.nan, 0.5, 0.9, 2)), False),
        (_outputs((0.1, 0.1, 0.5, 0.5, np.nan, 2)), False),
        (_outputs(), False),
        (_outputs(ONE, ONE), False),
        (_outputs(ONE, count=-7), False),
        (_outputs(ONE, count=99), False),
    ],
)
def test_what_passes_for_a_detector(device, passes):
    record = compare(Sample(None), SQUARE, _outputs(ONE), device)
    assert record["passed"] is passes
    assert record["reference_boxes"][0] == pytest.approx([10, 10, 50, 50, 0.9, 2], abs=1e-3)


def test_iou_of_masks_by_hand():
    truth = np.array([[0, 0, 1, 1], [0, 1, 1, 255]], np.uint8)
    said = np.array([[0, 1, 1, 1], [0, 1, 0, 0]], np.uint8)
    counts = segment.count(truth, said)
    assert counts == {"0": [2, 3, 3], "1": [3, 4, 4]}
    by_class, accuracy = segment.intersection_over_union([counts])
    assert by_class == pytest.approx({0: 2 / 4, 1: 3 / 5}) and accuracy == pytest.approx(5 / 7)


def test_iou_is_of_all_pixels_of_all_images():
    """Not the mean of each image's: class 1 has 1 of 1 pixels here, and 0 of 9 there."""
    by_class, _ = segment.intersection_over_union([{"1": [1, 1, 1]}, {"0": [0, 9, 0], "1": [0, 0, 9]}])
    assert by_class == pytest.approx({0: 0, 1: 0.1})


def test_what_a_crop_left_out_is_wrong_but_no_class():
    truth = np.zeros((1, 4), np.uint8)
    said = np.array([[0, 0, 255, 255]], np.uint8)
    by_class, accuracy = segment.intersection_over_union([segment.count(truth, said)])
    assert by_class == {0: 0.5} and accuracy == 0.5


def test_more_than_a_thousandth_of_other_pixels_is_a_failure():
    ours = np.zeros((1, 50, 50), "uint8")
    placement = place("letterbox", (50, 50), (50, 50), 0)
    for pixels, passes in ((2, True), (3, False)):
        theirs = ours.copy()
        theirs.flat[:pixels] = 255
        found = TASKS["segment"].compare(Sample(None), placement, (ours,), (theirs,))
        assert found["passed"] is passes and found["max_abs_error"] == 0


def test_classification_totals():
    def record(label, reference, device):
        return {
            "label": label,
            "reference_top5": reference,
            "device_top5": device,
            "max_abs_error": 0.0,
            "agreement": None,
        }

    records = [record(1, [1, 2], [2, 1]), record(None, [3, 1], [3, 1]), record(2, [2, 1], [2, 1])]
    found = TASKS["classify"].totals([(Sample(None), each) for each in records], Dataset([]))
    assert (found["top1"], found["reference_top1"], found["top5"], found["labelled"]) == (1, 2, 2, 2)
    assert found["top1_agreement"] == 2


@pytest.mark.parametrize(
    ("names", "shapes", "task"),
    [
        (["boxes", "scores", "labels", "count"], [(1, 9, 4), (1, 9), (1, 9), (1,)], "detect"),
        (["classes"], [(1, 8, 8)], "segment"),
        (["output"], [(1, 10)], "classify"),
        (["output"], [(1, 8, 8)], "tensors"),
        (["boxes", "scores"], [(1, 9, 4), (1, 9)], "tensors"),
        (["boxes", "scores", "labels", "count"], [(9, 4), (9,), (9,), ()], "tensors"),
    ],
)
def test_outputs_declare_a_task(names, shapes, task):
    assert task_of_outputs(names, shapes).name == task


def test_a_value_that_is_no_number_differs():
    found = agreement.agreement((np.ones(3),), (np.array([1, np.nan, 1]),))
    assert not found["passed"] and found["max_abs_error"] == float("inf")
