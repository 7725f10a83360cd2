"""Exact greedy k-center (farthest-first) on unit embeddings, at millions of patches, in bulk and as the pool changes.

Imports numba, whose kernels are compiled at first use (once per machine where there is a folder to keep them): import it lazily.
"""

from alcore.arrays.coreset import Pick
from alcore.coreset.choose import best_engine, continue_from, select
from alcore.coreset.frontier import Frontier
from alcore.coreset.warm import Warm

__all__ = ["Frontier", "Pick", "Warm", "best_engine", "continue_from", "select"]
