"""Candidates for the emulated board on the CPUs of a Ray cluster, for more of them than one machine has.

Every node needs this version of Armature, and what `armature setup` sets up. A candidate is a task of one
CPU; one that takes too long is cancelled with its process.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from compile import __version__
from compile.tuning.candidate import Draws, Figure, estimate_candidate
from compile.tuning.measurers import BUILD_SECONDS, EmulatedMeasurer
from compile.tuning.task import Task
from compile.tuning.workers import with_failures
from targets.errors import UserError


@dataclass
class RayMeasurer(EmulatedMeasurer):
    """Each candidate alone on the emulated board, on some CPU of a cluster: figures are those that this
    machine would give. How many `workers` there are is known once it is entered.
    """

    address: str = ""
    """ray://HOST:PORT"""

    def submit(self, task: Task, draws: Draws) -> Future[Figure]:
        """Schedule, build, run, compare and price a candidate."""
        import ray

        assert self._pool is not None
        seconds = self.seconds + BUILD_SECONDS
        reference = self._pool.remote(task.text, task.roles, dict(draws), self.core, self.seconds)
        limit = threading.Timer(seconds, ray.cancel, [reference], {"force": True})
        limit.daemon = True
        limit.start()
        future: Future[Figure] = reference.future()
        future.add_done_callback(lambda _: limit.cancel())
        return with_failures(future, seconds)

    def __enter__(self) -> RayMeasurer:
        """Join the cluster. Raises UserError where there is none, no Ray, or another version of Armature."""
        try:
            import ray
        except ImportError:
            raise UserError(f"{self.address} needs Ray: pip install 'armature[ray]'") from None
        try:
            ray.init(self.address, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"no Ray cluster answers at {self.address}: {error}") from error
        try:
            found = ray.get(ray.remote(max_retries=0)(_version).remote())
        except ray.exceptions.RayError as error:
            self.__exit__()
            raise UserError(f"a node of {self.address} cannot run Armature: {error}") from error
        if found != __version__:
            self.__exit__()
            raise UserError(f"a node of {self.address} has Armature {found}, this machine {__version__}.")
        resources: dict[str, Any] = ray.cluster_resources()
        self.workers = max(1, int(resources.get("CPU", 1)))
        self._pool = ray.remote(num_cpus=1, max_retries=0)(estimate_candidate)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster, which ends the tasks of this tune."""
        import ray

        ray.shutdown()


def _version() -> str:
    """The version of Armature where this runs."""
    return __version__
