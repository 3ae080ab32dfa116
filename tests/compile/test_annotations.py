"""Annotation files to boxes and masks, matched to the network's classes."""

import json

import numpy as np
import pytest
from PIL import Image

from compile.datasets.boxes import Box, find_boxes
from compile.datasets.masks import VOID, find_masks
from compile.labels import class_index, labels
from targets.errors import UserError


def _image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path)
    return path


def _coco(folder, categories, annotations, file="annotations.json"):
    document = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
        "annotations": annotations,
    }
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(document))


def test_cocos_categories_are_matched_by_name(tmp_path):
    first = _image(tmp_path / "val2017" / "a.jpg")
    annotations = [
        {"image_id": 1, "category_id": 44, "bbox": [1, 2, 3, 2], "iscrowd": 1},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]},
        {"image_id": 1, "category_id": 91, "bbox": [0, 0, 2, 2]},
    ]
    _coco(
        tmp_path,
        {1: "person", 44: "bottle", 91: "hair brush"},
        annotations,
        "annotations/instances_val2017.json",
    )
    found = find_boxes(tmp_path, "coco")
    assert found.samples[0].path == first
    assert found.samples[0].truth == (Box((1, 2, 4, 4), 39, True), Box((0, 0, 2, 2), 0))
    assert found.samples[1].truth == () and found.samples[1].path == first.with_name("b.jpg")
    assert found.unknown == {"hair brush": 1}
    own = find_boxes(tmp_path, None)
    assert [box.label for box in own.samples[0].truth] == [1, 0, 2]
    assert own.names == ["person", "bottle", "hair brush"]


def test_a_coco_network_knows_vocs_names(tmp_path):
    _image(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(
        "<annotation><object><name>tvmonitor</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
        "<xmax>8</xmax><ymax>6</ymax></bndbox></object></annotation>"
    )
    (sample,) = find_boxes(tmp_path, "coco").samples
    assert sample.truth == (Box((0, 1, 8, 6), class_index("coco", "tv"), True),)
    assert find_boxes(tmp_path, None).names == ["tvmonitor"]


def test_labelmes_polygons_become_boxes(tmp_path):
    _image(tmp_path / "a.jpg")
    shapes = [
        {"label": "person", "points": [[1, 5], [4, 1], [2, 3]], "shape_type": "polygon"},
        {"label": "__ignore__", "points": [[0, 0], [9, 9]], "shape_type": "rectangle"},
        {"label": "person", "points": [[0, 0]], "shape_type": "point"},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes}))
    (sample,) = find_boxes(tmp_path, "coco").samples
    assert sample.truth == (Box((1, 1, 4, 5), 0),)


def test_masks_follow_their_class_names(tmp_path):
    _image(tmp_path / "JPEGImages" / "a.jpg")
    mask = np.array([[0, 1, 2, 9, 255, 0, 0, 0]] * 6, np.uint8)
    (tmp_path / "SegmentationClassPNG").mkdir()
    Image.fromarray(mask).save(tmp_path / "SegmentationClassPNG" / "a.png")
    (plain,) = find_masks(tmp_path, "voc").samples
    assert (plain.truth.read(6, 8)[0, :5] == [0, 1, 2, 9, VOID]).all()
    (tmp_path / "class_names.txt").write_text("_background_\nperson\ndragon\n")
    (named,) = find_masks(tmp_path, "voc").samples
    assert (named.truth.read(6, 8)[0, :5] == [0, 15, VOID, VOID, VOID]).all()


def test_a_damaged_mask_is_named(tmp_path):
    _image(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "SegmentationClass").mkdir()
    for name, data in (("a.png", b"no image"), ("a.npy", b"no array")):
        for old in (tmp_path / "SegmentationClass").iterdir():
            old.unlink()
        (tmp_path / "SegmentationClass" / name).write_bytes(data)
        (sample,) = find_masks(tmp_path, None).samples
        with pytest.raises(UserError, match=name):
            sample.truth.read(6, 8)
    np.save(tmp_path / "SegmentationClass" / "a.npy", np.zeros((6, 8)))
    with pytest.raises(UserError, match="whole numbers"):
        sample.truth.read(6, 8)


def test_labelmes_polygons_become_masks(tmp_path):
    """Later shapes lie on top; what the network does not tell, and what is to be ignored, is void."""
    _image(tmp_path / "a.jpg")
    shapes = [
        {"label": "person", "points": [[0, 0], [3, 5]], "shape_type": "rectangle"},
        {"label": "sofa", "points": [[2, 0], [3, 0], [3, 5], [2, 5]], "shape_type": "polygon"},
        {"label": "__ignore__", "points": [[4, 0], [4, 5]], "shape_type": "rectangle"},
        {"label": "dragon", "points": [[5, 0], [5, 5]], "shape_type": "rectangle"},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes}))
    found = find_masks(tmp_path, "voc")
    (sample,) = found.samples
    assert (sample.truth.read(6, 8) == [15, 15, 18, 18, VOID, VOID, 0, 0]).all()
    assert found.unknown == {"dragon": 1}
    own = find_masks(tmp_path, None)
    assert own.names == ["_background_", "dragon", "person", "sofa"]
    assert (own.samples[0].truth.read(6, 8) == [2, 2, 3, 3, VOID, 1, 0, 0]).all()


def test_label_sets_have_their_classes_in_order():
    coco, voc = labels("coco"), labels("voc")
    assert (len(coco), coco[0], coco[11], coco[79]) == (80, "person", "stop sign", "toothbrush")
    assert (len(voc), voc[0], voc[15], voc[20]) == (21, "background", "person", "tvmonitor")
    others = {name for name in voc[1:] if labels("coco")[class_index("coco", name)] != name}
    assert others == {"aeroplane", "diningtable", "motorbike", "pottedplant", "sofa", "tvmonitor"}
    assert class_index("voc", "_background_") == 0 and class_index("voc", "couch") == voc.index("sofa")
