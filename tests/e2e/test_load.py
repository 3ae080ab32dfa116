"""`armature.load`: what a Python program sees of a C library, made for this machine."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import armature as loader
from compile.frontend import trace
from compile.source import Source
from tests.e2e.conftest import Armature
from tests.e2e.test_c_library import ODD_CHANNELS, OUTPUTS

SHAPE = (1, 3, 33, 47)


@pytest.fixture(scope="module")
def folder(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for this machine."""
    folder = tmp_path_factory.mktemp("host") / "small"
    result = armature("compile", *ODD_CHANNELS, "--target", "host", "-o", folder)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil."""
    return shutil.copytree(folder, tmp_path / "copy")


def image(seed: int = 0) -> NDArray[np.float32]:
    """An input of the small network."""
    return np.random.default_rng(seed).standard_normal(SHAPE, np.float32)


def test_it_is_loaded_by_folder_manifest_or_file(folder: Path) -> None:
    results = []
    for path in (folder, str(folder / "manifest.json"), folder / "libsmall_net.so"):
        with loader.load(path) as network:
            results.append(network(image()))
    source = Source.from_json(json.loads((folder / "manifest.json").read_text())["source"])
    (expected,) = trace(source).reference(image())
    for (result,) in results:
        assert result.shape == (1, 11) and result.dtype == np.float32
        assert np.abs(result - expected).max() <= 1e-4 * np.abs(expected).max()


def test_threads_share_a_call(folder: Path) -> None:
    with loader.load(folder) as one, loader.load(folder, threads=3) as three, three.another() as other:
        assert (one.threads, three.threads, other.threads) == (1, 3, 3)
        assert three.workspace_bytes >= one.workspace_bytes
        (expected,) = one(image())
        for network in (three, other):
            (result,) = network(image())
            assert np.array_equal(result, expected)


def test_it_says_what_it_is(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    with loader.load(folder) as network:
        (taken,), (given,) = network.inputs, network.outputs
        assert (taken.name, taken.dtype, taken.shape, taken.layout) == ("picture", np.float32, SHAPE, "NCHW")
        assert given.shape == (1, 11) and given.layout == ""
        assert network.core == manifest["core"]["name"]
        assert network.version == manifest["versions"]["armature"]
        assert network.workspace_bytes >= manifest["peak_activation_bytes"] - 4 * 11
        assert "picture (float32 1x3x33x47)" in repr(network)


NEITHER = """
import sys
import armature
import numpy as np
with armature.load(sys.argv[1]) as network:
    (scores,) = network(np.ones((1, 3, 33, 47), np.float32))
assert scores.std() > 0
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "tvm", "tvm_ffi", "compile", "schedules", "targets"}, loaded
"""


def test_it_needs_neither_tvm_nor_pytorch(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", NEITHER, folder], check=True)


def test_arguments_are_checked(folder: Path) -> None:
    with loader.load(folder) as network:
        with pytest.raises(TypeError, match="1 inputs, not 2: picture"):
            network(image(), image())
        with pytest.raises(TypeError, match="wants float32, not float64"):
            network(image().astype(np.float64))
        with pytest.raises(ValueError, match=r"wants the shape \(1, 3, 33, 47\), not \(3, 33, 47\)"):
            network(image()[0])
        (expected,) = network(image())
        mirrored = np.asfortranarray(image())  # dense in another order: copied
        assert np.array_equal(network(mirrored)[0], expected)
        shifted = np.empty(image().nbytes + 1, np.uint8)[1:].view(np.float32).reshape(SHAPE)  # misaligned
        shifted[...] = image()
        assert np.array_equal(network(shifted)[0], expected)


def test_outputs_can_be_the_callers(folder: Path) -> None:
    with loader.load(folder) as network:
        (expected,) = network(image())
        mine = np.zeros((1, 11), np.float32)
        (result,) = network(image(), out=[mine])
        assert result is mine and np.array_equal(mine, expected)
        with pytest.raises(ValueError, match="dense, aligned and writeable"):
            network(image(), out=[np.zeros((1, 22), np.float32)[:, ::2]])
        with pytest.raises(TypeError, match="1 outputs, not 0"):
            network(image(), out=[])
        given = image()
        with pytest.raises(ValueError, match="shares memory"):
            network(given, out=[given.reshape(-1)[:11].reshape(1, 11)])


def test_several_outputs_in_order(armature: Armature, tmp_path: Path) -> None:
    result = armature("compile", *OUTPUTS, "--target", "host", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    given = np.random.default_rng(1).standard_normal((1, 3, 20, 20), np.float32)
    source = Source.from_json(json.loads((tmp_path / "out" / "manifest.json").read_text())["source"])
    with loader.load(tmp_path / "out") as network:
        ours, theirs = network(given), trace(source).reference(given)
        assert len(ours) == len(theirs) > 1
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape and np.abs(one - other).max() <= 1e-4 * np.abs(other).max()


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "another each"])
def test_threads(folder: Path, shared: bool) -> None:
    with loader.load(folder) as network:
        expected = [network(image(seed))[0] for seed in range(4)]
        wrong = []

        def work(seed: int, own: loader.Network) -> None:
            for _ in range(50):
                if not np.array_equal(own(image(seed))[0], expected[seed]):
                    wrong.append(seed)

        networks = [network if shared else network.another() for _ in expected]
        threads = [threading.Thread(target=work, args=each) for each in enumerate(networks)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_a_closed_network_is_not_called(folder: Path) -> None:
    network = loader.load(folder)
    other = network.another()
    network.close()
    network.close()
    with pytest.raises(loader.ArmatureError, match="was closed"):
        network(image())
    assert other(image())[0].shape == (1, 11)


def test_an_error_code_is_an_exception_with_the_librarys_message(folder: Path) -> None:
    network = loader.load(folder)
    with pytest.raises(loader.CallError) as caught:
        network._interface.run(0, [image()], [image()])  # no handle, which no caller of a Network can do
    assert caught.value.code == 1 and str(caught.value) == "libsmall_net.so: a pointer is null"


def spoil_library(folder: Path) -> Path:
    """The library with a byte more."""
    with (folder / "libsmall_net.so").open("ab") as file:
        file.write(b"x")
    return folder


def spoil_manifest(folder: Path) -> Path:
    """A manifest that is none."""
    (folder / "manifest.json").write_text("{")
    return folder


def rename(folder: Path) -> Path:
    """The library under another name."""
    (folder / "manifest.json").unlink()
    return (folder / "libsmall_net.so").rename(folder / "libother.so")


def unnamed(folder: Path) -> Path:
    """A library that the manifest does not know."""
    return (folder / "libsmall_net.so").rename(folder / "libother.so")


def outside(folder: Path) -> Path:
    """A manifest that leads out of the folder."""
    library = (folder / "libsmall_net.so").rename(folder.parent / "libsmall_net.so")
    (folder / "manifest.json").write_text(json.dumps({"files": {f"../{library.name}": "0"}}))
    return folder


def no_library(folder: Path) -> Path:
    """A text in its place."""
    (folder / "manifest.json").unlink()
    (folder / "libsmall_net.so").write_text("no library")
    return folder


def nothing(folder: Path) -> Path:
    """A folder without one."""
    (folder / "libsmall_net.so").unlink()
    return folder


def absent(folder: Path) -> Path:
    """What was never there."""
    return folder / "absent"


SPOILT = {
    spoil_library: "sha256 differs",
    spoil_manifest: "cannot be read as a manifest",
    rename: "no function other_version",
    unnamed: "is not a file that the manifest beside it names",
    outside: "not to be trusted",
    no_library: "does not load here",
    nothing: "--target host",
    absent: "there is no",
}


@pytest.mark.parametrize(("spoil", "said"), SPOILT.items(), ids=[spoil.__name__ for spoil in SPOILT])
def test_what_is_no_library_is_said(copy: Path, spoil: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(loader.LoadError, match=said) as caught:
        loader.load(spoil(copy))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(platform.machine() == "aarch64", reason="it loads here")
def test_a_library_for_another_machine_is_said(armature: Armature, tmp_path: Path) -> None:
    options = ("--cpu", "cortex-a53", "--format", "c-library", "-o", tmp_path / "out")
    assert armature("compile", *ODD_CHANNELS, *options).exit_code == 0
    with pytest.raises(loader.LoadError, match="linux-aarch64, cortex-a53, does not load here"):
        loader.load(tmp_path / "out")
