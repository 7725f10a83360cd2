"""Compiling numba kernels once per machine, and running them on several threads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from threadpoolctl import ThreadpoolController

F = TypeVar("F", bound=Callable[..., Any])
P = TypeVar("P")
T = TypeVar("T")


def _keep_code_somewhere() -> None:
    """Let numba keep compiled code beside the source or in the user's cache; where neither can be written, in this process.

    numba refuses to compile a cached function without a folder to write to. A folder of this process alone is the last
    resort: a shared temporary one could hold somebody else's code.
    """
    settings: Any = numba.config
    if settings.CACHE_DIR:  # $NUMBA_CACHE_DIR
        return
    beside, user = Path(__file__).parent / "__pycache__", Path.home() / ".cache"
    if not any(_can_write(folder) for folder in (beside, user)):
        settings.CACHE_DIR = tempfile.mkdtemp(prefix="alscope-numba-")


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


_keep_code_somewhere()


def kernel(function: F) -> F:
    """Compile without the interpreter lock; additions keep their order, multiply-add may be fused."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(function)
    return cast(F, compiled)


def estimate(function: F) -> F:
    """Compile for speed: additions in any order. Only for values that carry a guard against rounding."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=True)(function)
    return cast(F, compiled)


def n_threads() -> int:
    """Threads this process may use: $OMP_NUM_THREADS, else the cores it may run on."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(named)) if named.isdigit() else len(os.sched_getaffinity(0))


def share_out(work: Callable[[P], T], parts: Sequence[P], threads: int) -> list[T]:
    """Results of `work` on every part, in order; on several threads when there are several, each with its own BLAS."""
    with one_blas_thread():
        if threads < 2 or len(parts) < 2:
            return [work(part) for part in parts]
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            return list(pool.map(work, parts))


def slices(n: int, step: int) -> list[slice]:
    """Slices of at most `step` that cover 0..n."""
    return [slice(i, min(n, i + step)) for i in range(0, n, step)]


def one_blas_thread() -> AbstractContextManager[Any]:
    """Where several threads only wait for each other: on a busy machine they make small products a hundred times slower."""
    limited: AbstractContextManager[Any] = _blas().limit(limits=1, user_api="blas")
    return limited


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
