"""A Ray cluster that trains the runs of a study: on many machines, or on this one."""

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from evenface.errors import InputError
from evenface.progress import progress
from evenface.studies.crew import GLANCE, PATIENCE, Answer, Request, threads_each

TRIES = 3
"""Times that runs are begun whose worker was lost each time."""
MEMORY = 100 * 2**20
"""Bytes of the store of a cluster of one's own; runs say little to each other."""
ADDRESS = "RAY_ADDRESS"


class Cluster:
    """Workers of a Ray cluster: of the one that is connected, of the one at ``RAY_ADDRESS``, or of one made here.

    Parameters
    ----------
    jobs : int, optional
        Requests at a time; by default one for each GPU, or for each processor core where there is none.
    most : int
        Requests there are at most.
    cores : int
        Processor cores of this machine that a cluster made here may use.
    gpu : bool
        Whether runs may use GPUs.
    log : Path
        File that takes what workers say of errors.

    Raises
    ------
    InputError
        If Ray is not installed, or there is no cluster at the address.

    Notes
    -----
    Workers read and write the study's folder themselves: all machines must see it under the same path.
    A cluster made here ends with the block. Its usage statistics and its dashboard are off.
    """

    def __init__(self, jobs: int | None, most: int, *, cores: int, gpu: bool, log: Path) -> None:
        self._ray, self._own = _connected(cores, gpu)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = sum(int(node.get("GPU", 0)) for node in nodes) if gpu else 0
        every = sum(int(node.get("CPU", 0)) for node in nodes)
        self.count = max(1, min(jobs or gpus or every, most))
        threads = max(1, min(every // self.count, *(int(node.get("CPU", 1)) for node in nodes)))
        kept = {key: value for key, value in os.environ.items() if key.startswith("EVENFACE_")}
        self._train = self._ray.remote(_train).options(
            num_cpus=threads,
            num_gpus=1 / -(-self.count // gpus) if gpus else 0,
            max_retries=0,
            runtime_env={"env_vars": {**kept, **threads_each(threads)}},
        )
        self._log = str(log.resolve())
        self._running: dict[Any, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let every worker put its runs away; one that takes too long, or a second Ctrl-C, ends that."""
        try:
            for reference in self._running:
                self._ray.cancel(reference)
            if self._running:
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=PATIENCE)
        finally:
            for reference in self._running:
                self._ray.cancel(reference, force=True)
            if self._own:
                self._ray.shutdown()

    def work(
        self, requests: Sequence[Request], glance: Callable[[], None], say: Callable[[str], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Give the place of each request with its answer, as they come; see :class:`~evenface.studies.crew.Crew`."""
        waiting, tries = list(range(len(requests)))[::-1], [0] * len(requests)
        while waiting or self._running:
            while waiting and len(self._running) < self.count:
                place = waiting.pop()
                tries[place] += 1
                self._running[self._train.remote(requests[place], str(Path.cwd()), self._log)] = place
            ended, _ = self._ray.wait(list(self._running), timeout=GLANCE)
            glance()
            for reference in ended:
                place = self._running.pop(reference)
                answer = self._answer(reference, requests[place])
                if isinstance(answer, list):
                    yield place, answer
                elif tries[place] < TRIES:
                    say(f"a worker was lost ({answer}); what it was at is begun again")
                    waiting.append(place)
                else:
                    why = f"its worker was lost {TRIES} times, at last: {answer}"
                    yield place, [{"failed": why}] * len(requests[place])

    def _answer(self, reference: Any, request: Request) -> Answer | str:
        """Give what a worker answered, or in a word how it was lost."""
        from ray.exceptions import RayError, RayTaskError

        try:
            answer: Answer = self._ray.get(reference)
        except RayTaskError as error:
            why = str(error.cause or error).splitlines()[-1]
            return [{"failed": f"a worker could not begin: {why}"}] * len(request)
        except RayError as error:
            return type(error).__name__
        return answer


def _connected(cores: int, gpu: bool) -> tuple[Any, bool]:
    """Give Ray with a cluster behind it, and whether the cluster is of this study alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise InputError(
            "--executor ray needs Ray, which is not installed", "Install it: pip install 'evenface[cluster]'."
        ) from None
    if ray.is_initialized():
        return ray, False
    address = os.environ.get(ADDRESS)
    own = {"include_dashboard": False, "object_store_memory": MEMORY, **({} if gpu else {"num_gpus": 0})}
    kind: dict[str, Any] = {"address": address} if address else {"address": "local", "num_cpus": cores, **own}
    with progress("starting a Ray cluster" if not address else "finding the Ray cluster", 1):
        for last in (False, False, True):
            try:
                ray.init(**kind, log_to_driver=False, logging_level=logging.ERROR)
                break
            except Exception as error:  # what it raises has no class of its own, and on a busy machine it is impatient
                ray.shutdown()
                if address or last:
                    where = f"the Ray cluster at {address} ({ADDRESS})" if address else "a Ray cluster here"
                    raise InputError(
                        f"{where} does not start or answer: {str(error).splitlines()[0]}",
                        "Its own command tells more: ray status. Or leave out --executor ray.",
                    ) from error
    return ray, True


def _train(request: Request, place: str, log: str) -> Answer:
    """Train in the directory of who asked, so that relative paths mean the same; runs in a worker."""
    from evenface.studies.worker import answer

    signal.signal(signal.SIGINT, signal.default_int_handler)  # how Ray cancels
    try:
        told = Path(log).open("a", encoding="utf-8")  # noqa: SIM115
        os.chdir(place)
    except OSError as error:
        why = f"{error.filename} is not there on {os.uname().nodename}: all machines must see the same folders"
        return [{"failed": why}] * len(request)
    with told, contextlib.redirect_stderr(told):
        return answer(request)
