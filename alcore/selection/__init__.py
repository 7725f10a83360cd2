"""Which patches to annotate next: strategies behind one port, QC, spatial spread and the control arm."""

from alcore.selection.batch import STRATEGIES, Selection, choose
from alcore.selection.port import TRAITS, Choice, Flaw, Pool, Request
from alcore.selection.queue_order import Queued, in_order
from alcore.selection.reconsider import Reconsidered, reconsider

__all__ = [
    "STRATEGIES",
    "TRAITS",
    "Choice",
    "Flaw",
    "Pool",
    "Queued",
    "Reconsidered",
    "Request",
    "Selection",
    "choose",
    "in_order",
    "reconsider",
]
