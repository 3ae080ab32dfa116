"""Files and bundles from elsewhere: none runs code of its own unless it is trusted."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compile.bundle import FORMAT, Bundle, open_bundle
from compile.checksum import sha256
from compile.exported import read_program
from compile.models import find_model
from compile.own_sources import remember, require_own
from compile.source import Source
from compile.validate import retrace
from compile.weights import load_weights, read_state_dict
from targets.errors import UserError

Change = Callable[[dict[str, bytes]], None]
GRAPH, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"
CONSTANTS, SAMPLES = "data/constants/model_constants_config.json", "data/sample_inputs/model.pt"


class Net(nn.Module):
    """A parameter, a constant, an argument that is text, and outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.einsum("nchw,c->nchw", self.layer(image), torch.tensor([1.0, 2.0, 3.0, 4.0]))
        return {"scores": x.mean((2, 3)), "sizes": x.amax((2, 3))}


class Code:
    """Pickled, it makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that code makes, if it is run."""
    return tmp_path / "it-ran"


@pytest.fixture(scope="module")
def exported() -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(Net().eval(), (torch.zeros(1, 3, 8, 8),)), file)
    return file.getvalue()


def changed(exported: bytes, change: Change, path: Path) -> Path:
    """The archive with other contents."""
    with zipfile.ZipFile(io.BytesIO(exported)) as old:
        top = old.namelist()[0].partition("/")[0]
        files = {name.removeprefix(f"{top}/"): old.read(name) for name in old.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, data in files.items():
            new.writestr(f"{top}/{name}", data)
    return path


def edited(name: str, edit: Callable[[Any], object]) -> Change:
    """The change of a JSON file."""

    def change(files: dict[str, bytes]) -> None:
        document = json.loads(files[name])
        edit(document)
        files[name] = json.dumps(document).encode()

    return change


def put(name: str, data: Callable[[], bytes]) -> Change:
    return lambda files: files.update({name: data()})


def node(document: Any) -> Any:
    return document["graph_module"]["graph"]["nodes"][0]


def renamed(files: dict[str, bytes], name: str) -> None:
    """Another name of the input, everywhere, as it becomes a line of Python."""
    files[GRAPH] = files[GRAPH].replace(b'"image"', json.dumps(name).encode())


# -- .pt2


def test_plain_archive_is_read(tmp_path: Path, exported: bytes) -> None:
    (tmp_path / "net.pt2").write_bytes(exported)
    image = torch.rand(1, 3, 8, 8)
    ours, trusted = (read_program(tmp_path / "net.pt2", trust).module()(image) for trust in (False, True))
    assert torch.equal(ours["scores"], trusted["scores"])


def test_extra_files_do_no_harm(tmp_path: Path, exported: bytes) -> None:
    path = changed(exported, put("extra/notes.txt", lambda: b"hello"), tmp_path / "net.pt2")
    assert read_program(path, False)


def pickled(what: Any) -> bytes:
    file = io.BytesIO()
    torch.save(what, file)
    return file.getvalue()


@pytest.mark.parametrize("place", ["samples", "weight", "constant", "opaque", "legacy"])
def test_pickled_code_in_an_archive_is_not_run(
    tmp_path: Path, exported: bytes, mark: Path, place: str
) -> None:
    def change(files: dict[str, bytes]) -> None:
        weights, constants = json.loads(files[WEIGHTS]), json.loads(files[CONSTANTS])
        if place == "samples":
            files[SAMPLES] = pickled(Code(mark))
        elif place == "weight":
            weights["config"]["layer.weight"]["use_pickle"] = True
            files["data/weights/weight_0"] = pickled(Code(mark))
        elif place == "constant":
            next(iter(constants["config"].values()))["use_pickle"] = True
            files["data/constants/tensor_0"] = pickled(Code(mark))
        elif place == "opaque":
            row = next(iter(constants["config"].values()))
            row.update(path_name="opaque_obj_0", use_pickle=True)
            files["data/constants/opaque_obj_0"] = pickle.dumps(Code(mark))
        else:
            files["data/weights/model.pt"] = pickled(Code(mark))
        files[WEIGHTS], files[CONSTANTS] = json.dumps(weights).encode(), json.dumps(constants).encode()

    path = changed(exported, change, tmp_path / "net.pt2")
    with pytest.raises(UserError, match=r"net\.pt2 holds .*\n.*--trust"):
        read_program(path, False)
    assert not mark.exists()
    with suppress(UserError):  # what torch makes of it, once it ran
        read_program(path, True)
    assert mark.exists()


def test_an_older_archive_is_not_read(tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", "{}")
        for name in ("state_dict", "constants", "example_inputs"):
            archive.writestr(f"serialized_{name}.pt", pickled(Code(mark)))
    with pytest.raises(UserError, match="is not an exported program"):
        read_program(path, False)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edited(GRAPH, lambda d: node(d).update(target="torch.os.system")), "torch.os.system"),
        (edited(GRAPH, lambda d: node(d).update(target="torch.ops.aten.from_file.default")), "from_file"),
        (edited(GRAPH, lambda d: node(d).update(target="_operator.methodcaller")), "methodcaller"),
        (edited(GRAPH, lambda d: d["guards_code"].append("__import__('os').abort()")), "abort"),
        (edited(GRAPH, lambda d: node(d)["inputs"].append({"expr_str": "open('x', 'w')"})), "open"),
        (lambda files: renamed(files, "image=__import__('os').abort()"), "abort"),
        (
            edited(
                GRAPH,
                lambda d: d["graph_module"]["module_call_graph"][0]["signature"].update(
                    in_spec='[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
                ),
            ),
            "defaultdict",
        ),
        (put("data/aotinductor/model/x.so", lambda: b"\x7fELF"), "x.so"),
        (put("models/other.json", lambda: b"{}"), "other.json"),
    ],
)
def test_an_archive_that_names_code_is_refused(
    tmp_path: Path, exported: bytes, change: Change, named: str
) -> None:
    path = changed(exported, change, tmp_path / "net.pt2")
    with pytest.raises(UserError, match=rf"holds .*{named}.*\n.*--trust"):
        read_program(path, False)


@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, SAMPLES])
def test_an_archive_that_lacks_a_part_is_told(tmp_path: Path, exported: bytes, name: str) -> None:
    path = changed(exported, lambda files: files.pop(name) and None, tmp_path / "net.pt2")
    with pytest.raises(UserError, match="is not an exported program"):
        read_program(path, False)


# -- checkpoints


def test_a_whole_network_is_a_checkpoint_of_who_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"model": nn.Conv2d(3, 4, 3)}, path)
    with pytest.raises(UserError, match=r"pickled code .*--trust"):
        read_state_dict(path)
    assert set(read_state_dict(path, trust=True)) == {"weight", "bias"}


def test_code_of_a_checkpoint_is_run_for_who_trusts_it(tmp_path: Path, mark: Path) -> None:
    path = tmp_path / "code.pth"
    torch.save({"weight": Code(mark)}, path)
    network = nn.Conv2d(3, 4, 3)
    with pytest.raises(UserError, match=r"pickled code .*--trust"):
        load_weights(network, str(path), find_model("mobilenet_v2"), (1, 3, 8, 8))
    assert not mark.exists()
    with pytest.raises(UserError, match="holds no tensors"):
        load_weights(network, str(path), find_model("mobilenet_v2"), (1, 3, 8, 8), trust=True)
    assert mark.exists()


# -- bundles


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder that is a bundle as far as its manifest goes."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.so").write_bytes(b"\x7fELF")
    manifest = {
        "core": {},
        "weights": {},
        "inputs": [],
        "outputs": [],
        "kernels": [],
        "format": FORMAT,
        "model": "net",
        "task": "tensors",
        "preprocess": None,
        "labels": None,
        "files": {"model.so": sha256(folder / "model.so")},
        "source": Source("os:getcwd").to_json(),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def edit(bundle: Path, **fields: Any) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_bundle_is_whole(bundle: Path) -> None:
    assert open_bundle(bundle).library.name == "model.so"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/../../secret", "..", "link", ""])
def test_manifest_that_leads_outside_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "secret").write_text("secret")
    (bundle / "link").symlink_to(bundle.parent / "secret")
    digest = sha256(bundle.parent / "secret")
    edit(bundle, files={**json.loads((bundle / "manifest.json").read_text())["files"], name: digest})
    with pytest.raises(UserError, match="not to be trusted"):
        open_bundle(bundle)


def test_labels_from_elsewhere_are_refused(bundle: Path) -> None:
    for labels in ("/etc/passwd", "../secret", "labels.txt"):
        edit(bundle, labels=labels)
        with pytest.raises(UserError, match="takes labels from"):
            open_bundle(bundle)


@pytest.mark.parametrize("field", ["files", "source", "kernels", "labels", "cores", "platform"])
def test_manifest_of_another_shape_is_told(bundle: Path, field: str) -> None:
    edit(bundle, **{field: 7})
    with pytest.raises(UserError, match=f"has no '{field}'"):
        open_bundle(bundle)


def test_manifest_without_a_library_is_told(bundle: Path) -> None:
    edit(bundle, files={})
    with pytest.raises(UserError, match="names no library"):
        open_bundle(bundle)


def test_damaged_source_is_told(bundle: Path) -> None:
    edit(bundle, source={"model": "net"})
    with pytest.raises(UserError, match="source is damaged"):
        retrace(open_bundle(bundle))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path) -> str:
    """A module of that name whose import makes a file."""
    monkeypatch.setenv("ARMATURE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "foreign_code.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path / "here")
    return "foreign_code:net"


def test_callable_that_a_manifest_names_is_not_run(
    bundle: Path, module: str, mark: Path, tmp_path: Path
) -> None:
    edit(bundle, source=Source(module).to_json())
    opened: Bundle = open_bundle(bundle)
    with pytest.raises(UserError, match=r"names foreign_code:net .*\n.*--trust"):
        retrace(opened)
    assert not mark.exists()
    with pytest.raises(UserError, match="nothing called 'net'"):
        retrace(opened, trust=True)
    assert mark.exists()
    shutil.rmtree(tmp_path / "here" / "__pycache__", ignore_errors=True)


def test_callable_that_the_user_compiled_may_run(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(Source(module, {"width": "2"}))
    require_own(Source(module, {"width": "2"}, inputs={"x": (1, 3)}))
    for other in (Source(module), Source("foreign_code:other", {"width": "2"})):
        with pytest.raises(UserError, match="--trust"):
            require_own(other)
    shutil.copytree(tmp_path / "here", tmp_path / "there")  # another module of the same name
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UserError, match="--trust"):
        require_own(Source(module, {"width": "2"}))


def test_what_runs_no_code_needs_no_trust() -> None:
    require_own(Source("mobilenet_v2"))
    require_own(Source("net.pt2"))
