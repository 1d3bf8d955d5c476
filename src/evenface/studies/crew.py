"""Who trains the runs of a study: one face of the processes of this machine and of a Ray cluster."""

import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Protocol, Self

Executor = Literal["local", "ray"]
Request = list[dict[str, Any]]
"""Runs that are trained as one, each by its ``recipe``, its ``folder`` and the ``tests`` on further data.

``share`` is the file that takes how far they are, ``searches`` the one that keeps the trials of searches.
"""
Answer = list[dict[str, Any]]
"""Of each run its ``seconds``, or under ``failed`` the sentence that says why it was not trained."""

PATIENCE = 20.0
"""Seconds that a worker has to put its runs away when it shall stop."""
GLANCE = 0.5
"""Seconds between two looks at how far the work is."""
LIBRARIES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Crew(Protocol):
    """Workers that train; leaving the block lets each put away what it is at."""

    count: int
    """How many work at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def work(
        self, requests: Sequence[Request], glance: Callable[[], None], say: Callable[[str], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Give the place of each request with its answer, as they come.

        Parameters
        ----------
        requests : sequence of Request
            What is to be trained.
        glance : callable
            Called every :data:`GLANCE` seconds while work goes on.
        say : callable
            Takes a line for the screen.
        """
        ...


def threads_each(threads: int) -> dict[str, str]:
    """Give the environment in which libraries take so many threads, or as many as the user chose.

    Threads that the user chose count for the libraries too that nothing was said of: more of them than cores would
    wait for each other all the time.
    """
    count = os.environ.get("OMP_NUM_THREADS", str(threads))
    return {name: os.environ.get(name, count) for name in LIBRARIES}
