"""Threads that work side by side, each with one thread of torch."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


class Workers:
    """A pool of threads; with a count of 1 there are none, and the caller does the work.

    Args:
        count: of the threads.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        # The number of threads of torch is a setting of the thread that sets it.
        self._pool = (
            ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) if count > 1 else None
        )

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
        """The results of calls with the first of all arguments, the second, and so on, in that order."""
        run = map if self._pool is None else self._pool.map
        return list(run(function, *arguments))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
