"""Candidates measured on a Ray cluster: the figures are this machine's own, and what goes wrong is said."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from compile.frontend import trace
from compile.tuning.candidate import Figure
from compile.tuning.measurers import EmulatedMeasurer, Measurer
from compile.tuning.ray_measurer import RayMeasurer
from compile.tuning.spec import read_spec
from compile.tuning.task import Task, tasks_of
from targets.errors import UserError
from tests.tuning.tunes import CORE, NET

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.emulator, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a local cluster of two workers."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from ray.cluster_utils import Cluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"num_cpus": 2, "ray_client_server_port": port, "include_dashboard": False}
    local = Cluster(initialize_head=True, head_node_args=options)
    yield f"ray://127.0.0.1:{port}"
    local.shutdown()


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return tasks_of({"net": trace(read_spec(NET)).relax()}, CORE)


def figures(measurer: Measurer, tasks: list[Task], draws: dict[str, int]) -> list[Figure]:
    with measurer:
        return [each.result() for each in [measurer.submit(task, draws) for task in tasks]]


def test_figures_are_those_of_this_machine(cluster, tasks):
    ours = figures(EmulatedMeasurer(CORE, 2), tasks, {})
    assert all(figure.seconds for figure in ours)
    assert figures(RayMeasurer(CORE, address=cluster), tasks, {}) == ours


def test_candidate_that_takes_too_long_fails(cluster, tasks):
    (figure,) = figures(RayMeasurer(CORE, seconds=0.001, address=cluster), tasks[:1], {})
    assert figure.seconds is None and "did not end" in figure.failure


def test_cluster_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("RAY_CLIENT_CONNECT_TIMEOUT", "1")
    with pytest.raises(UserError, match=r"no Ray cluster answers at ray://127\.0\.0\.1:9"):
        RayMeasurer(CORE, address="ray://127.0.0.1:9").__enter__()
