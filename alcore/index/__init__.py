"""The pool of embeddings of one encoder: incremental, searched exactly, and a cache on disk that can always be rebuilt."""

from alcore.index.pool import NEAR_DUPLICATE, PoolIndex, check_embeddings
from alcore.index.remembered import Remembered, remembered

__all__ = ["NEAR_DUPLICATE", "PoolIndex", "Remembered", "check_embeddings", "remembered"]
