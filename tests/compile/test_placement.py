"""Images in inputs, and boxes and masks on the way back to the image's pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compile.placement import FITS, OUTSIDE
from compile.preprocess import Preprocess

SIDES = st.integers(8, 700)
FIT_NAMES = st.sampled_from(sorted(FITS))


def _steps(fit, width, height):
    return Preprocess(fit=fit, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).for_input((1, 3, height, width))


def _input_box(placed, box):
    """The box, in pixels of the image, as a part of the input: the way there, written out."""
    scale = np.array(placed.resized * 2) / (placed.image * 2)
    return (np.array(box) * scale + placed.offset * 2) / (placed.input * 2)


@given(FIT_NAMES, SIDES, SIDES, SIDES, SIDES, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_come_back(fit, width, height, to_width, to_height, corners):
    placed = _steps(fit, to_width, to_height).place(width, height)
    x1, x2 = sorted(width * value for value in corners[:2])
    y1, y2 = sorted(height * value for value in corners[2:])
    box = np.array([x1, y1, x2, y2])
    assert np.allclose(placed.to_image(_input_box(placed, box)), box, atol=1e-6)


@given(SIDES, SIDES, SIDES, SIDES)
def test_a_letterbox_keeps_all_of_the_image_and_its_aspect(width, height, to_width, to_height):
    placed = _steps("letterbox", to_width, to_height).place(width, height)
    inside = [
        placed.offset[i] >= 0 and placed.offset[i] + placed.resized[i] <= placed.input[i] for i in (0, 1)
    ]
    assert all(inside)
    assert placed.resized[0] == to_width or placed.resized[1] == to_height
    scale = min(to_width / width, to_height / height)
    for before, after in zip(placed.image, placed.resized, strict=True):
        assert abs(after - max(1, scale * before)) <= 0.5
    assert np.allclose(placed.to_image(np.array([0.0, 0.0, 1.0, 1.0])), [0, 0, width, height])


@given(FIT_NAMES, SIDES, SIDES, st.integers(8, 120), st.integers(8, 120))
def test_masks_and_boxes_agree(fit, width, height, to_width, to_height):
    """The image's pixels of one pixel of the input are those whose centres are in that pixel's box."""
    placed = _steps(fit, to_width, to_height).place(width, height)
    row, column = to_height // 2, to_width // 2
    mask = np.zeros((to_height, to_width), np.uint8)
    mask[row, column] = 1
    x1, y1, x2, y2 = placed.to_image(
        np.array([column / to_width, row / to_height, (column + 1) / to_width, (row + 1) / to_height])
    )
    back = placed.mask_to_image(mask)
    assert back.shape == (height, width)
    rows, columns = np.nonzero(back == 1)
    assert ((columns + 0.5 > x1 - 1e-6) & (columns + 0.5 < x2 + 1e-6)).all()
    assert ((rows + 0.5 > y1 - 1e-6) & (rows + 0.5 < y2 + 1e-6)).all()
    centres = (np.arange(width) + 0.5 > x1 + 1e-6) & (np.arange(width) + 0.5 < x2 - 1e-6)
    assert set(np.nonzero(centres)[0]) <= set(columns) or not len(rows)


@pytest.mark.parametrize("fit", sorted(FITS))
def test_a_bright_square_is_where_its_box_says(fit):
    picture = Image.new("RGB", (300, 180), "black")
    picture.paste("white", (120, 60, 180, 120))
    steps = _steps(fit, 96, 64)
    bright = steps.apply(picture)[0, 0] > 0.5
    rows, columns = np.nonzero(bright)
    box = np.array([columns.min() / 96, rows.min() / 64, (columns.max() + 1) / 96, (rows.max() + 1) / 64])
    found = steps.place(300, 180).to_image(box)
    assert np.abs(found - [120, 60, 180, 120]).max() < 300 / 64  # one pixel of the input


def test_a_letterbox_is_padded_with_the_mean():
    steps = Preprocess(fit="letterbox", size=(40, 40), mean=(0.2, 0.4, 0.6), std=(1, 1, 1))
    tensor = steps.apply(Image.new("RGB", (80, 40), "white"))
    assert np.abs(tensor[0, :, :10]).max() < 0.5 / 255 and np.abs(tensor[0, :, 30:]).max() < 0.5 / 255
    assert np.allclose(tensor[0, :, 10:30], (1 - np.array(steps.mean, np.float32))[:, None, None])


def test_a_crop_leaves_the_edges_outside():
    steps = Preprocess(resize=8, size=(8, 8))
    back = steps.place(16, 8).mask_to_image(np.zeros((8, 8), np.uint8))
    assert (back[:, :4] == OUTSIDE).all() and (back[:, 12:] == OUTSIDE).all() and not back[:, 4:12].any()


def test_boxes_end_at_the_images_edge():
    placed = _steps("letterbox", 100, 100).place(200, 100)
    assert placed.to_image(np.array([[-1.0, 0.0, 2.0, 1.0]])).tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize(
    "values", [{"fit": "zoom"}, {"resize": 10, "size": (20, 20)}, {"fit": "stretch", "size": (0, 5)}]
)
def test_impossible_steps_are_refused(values):
    with pytest.raises(ValueError, match="fit"):
        Preprocess(**values)
