"""The examples: the C program compiles as C99 and as C++ and runs, JNI's native half runs in a JVM, and
Swift's module map is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from targets.platforms import host_platform
from targets.toolchain import compile_object, compile_program
from tests.e2e.conftest import Armature

EXAMPLES = Path(__file__).parents[2] / "examples"
NETWORK = ("mobilenet_v2", "--arg", "width=0.35", "--input", "image=1x3x32x32", "--weights", "random:0")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")


@pytest.fixture(scope="module")
def folder(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MobileNetV2 for this machine."""
    folder = tmp_path_factory.mktemp("examples") / "out"
    result = armature("compile", *NETWORK, "--target", "host", "-o", folder)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.mark.parametrize(("suffix", "standard"), [(".c", "-std=c99"), (".cpp", "-std=c++11")])
def test_the_c_program(folder: Path, tmp_path: Path, suffix: str, standard: str) -> None:
    source = shutil.copy(EXAMPLES / "c" / "classify.c", tmp_path / f"classify{suffix}")
    zig = host_platform().zig
    compile_object(Path(source), tmp_path / "classify.o", (standard, *WARNINGS, f"-I{folder}"), zig)
    libraries = [f"-L{folder}", "-lmobilenet_v2", f"-Wl,-rpath,{folder}"]
    compile_program([tmp_path / "classify.o"], tmp_path / "classify", libraries, "cc", zig)
    np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32).tofile(tmp_path / "image.bin")
    answers = [
        subprocess.run(
            [tmp_path / "classify", tmp_path / "image.bin", threads],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "3")
    ]
    assert answers[0] == answers[1] and len(answers[0].splitlines()) == 5
    lost = subprocess.run([tmp_path / "classify", tmp_path / "none"], capture_output=True, check=False)
    assert lost.returncode == 2


def jdk() -> Path | None:
    """Where a Java development kit is."""
    compiler = shutil.which("javac")
    return Path(compiler).resolve().parents[1] if compiler else None


@pytest.mark.skipif(jdk() is None, reason="no javac on this machine")
def test_jnis_native_half(folder: Path, tmp_path: Path) -> None:
    java = jdk()
    assert java is not None
    include = (f"-I{java}/include", f"-I{java}/include/linux", f"-I{folder}")
    library = tmp_path / "libnetwork.so"
    native = EXAMPLES / "android" / "src" / "main" / "cpp" / "network.c"
    static = (str(folder / "libmobilenet_v2.a"), "-lm", "-lpthread")
    command = (
        "gcc",
        "-std=c99",
        *WARNINGS,
        "-shared",
        "-fPIC",
        *include,
        str(native),
        *static,
        "-o",
        library,
    )
    subprocess.run(command, check=True)
    kotlin = (EXAMPLES / "android/src/main/kotlin/armature/example/Network.kt").read_text()
    functions = ("create", "run", "destroy", "inputBytes", "outputBytes")
    assert all(f"external fun {each}(" in kotlin for each in functions)
    source = Path(__file__).with_name("Network.java")
    subprocess.run([java / "bin" / "javac", "-d", tmp_path, source], check=True)
    run = [java / "bin" / "java", "-cp", tmp_path, "armature.example.Network", library]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "pointer is null" in done.stdout, done.stderr


def test_swifts_module(folder: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "swift" / "module.modulemap", tmp_path)
    shutil.copy(folder / "mobilenet_v2.h", tmp_path)
    source = tmp_path / "user.m"
    source.write_text("@import MobileNetV2;\nint main(void) { return mobilenet_v2_create(0, 0); }\n")
    modules = ("-x", "objective-c", "-fmodules", f"-fmodules-cache-path={tmp_path}/cache", f"-I{tmp_path}")
    compile_object(source, tmp_path / "user.o", modules, host_platform().zig)
