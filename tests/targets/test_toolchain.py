from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from targets import cache, toolchain
from targets.errors import UserError


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARMATURE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_cache_builds_once(own_cache: Path) -> None:
    calls = []

    def build(path: Path) -> None:
        calls.append(path)
        path.write_text("built")

    first = cache.cached("kind", "key.txt", build)
    assert first == cache.cached("kind", "key.txt", build) == own_cache / "kind" / "key.txt"
    assert first.read_text() == "built"
    assert len(calls) == 1


def test_cache_builds_once_for_two_at_a_time(own_cache: Path) -> None:
    calls = []

    def build(path: Path) -> None:
        calls.append(path)
        path.mkdir()

    threads = [threading.Thread(target=cache.cached, args=("kind", "key", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert (own_cache / "kind" / "key").is_dir()


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
def test_cache_keeps_nothing_of_a_failed_build(own_cache: Path, error: type[BaseException]) -> None:
    def build(path: Path) -> None:
        path.write_text("half")
        raise error

    with pytest.raises(error):
        cache.cached("kind", "key", build)
    assert list((own_cache / "kind").iterdir()) == []


def test_content_key_tells_parts_apart(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("ab")
    assert cache.content_key(["ab"]) == cache.content_key([b"ab"]) == cache.content_key([file])
    assert cache.content_key(["a", "b"]) != cache.content_key(["ab"])


def test_link_shared_leaves_tvm_undefined(tmp_path: Path) -> None:
    source = tmp_path / "kernel.c"
    source.write_text(
        "extern int TVMBackendSomething(void);\nint kernel(void) { return TVMBackendSomething(); }\n"
    )
    toolchain.compile_object(source, tmp_path / "kernel.o", ["-O1"])
    library = tmp_path / "kernel.so"
    toolchain.link_shared([tmp_path / "kernel.o"], library)
    assert library.read_bytes()[:20] == b"\x7fELF\2\1\1" + bytes(9) + b"\3\0\xb7\0"  # ET_DYN, EM_AARCH64


def test_compile_error_names_the_file_and_the_line(tmp_path: Path) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int f(void) { return nothing; }\n")
    with pytest.raises(UserError, match=r"broken\.c.*nothing"):
        toolchain.compile_object(source, tmp_path / "broken.o", [])


def test_missing_zig_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install ziglang==0\.17\.0"):
        toolchain.link_shared([], tmp_path / "x.so")


def test_agent_needs_only_an_old_libc(agent: Path) -> None:
    listing = subprocess.run(
        ["aarch64-linux-gnu-readelf", "-dVW", agent], capture_output=True, text=True, check=True
    ).stdout
    needed = {line.split("[")[1].split("]")[0] for line in listing.splitlines() if "(NEEDED)" in line}
    family = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-aarch64.so.1"}
    assert needed <= family
    versions = [word for word in listing.split() if word.startswith("GLIBC_")]
    assert versions
    assert max(tuple(map(int, version[6:].split("."))) for version in versions) <= (2, 28)
    assert agent.stat().st_size < 3 << 20
