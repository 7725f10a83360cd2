"""On the device of the job, or on the processor where that has no room: a tile of the network's plan cannot be made smaller."""

from __future__ import annotations

from collections.abc import Callable

from alcore.nnunet.remedies import out_of_memory

NOTE = "the GPU has no room for a tile of the model: segmented by the processor, which takes longer"


def where_there_is_room(device: str, attempt: Callable[[str], None]) -> tuple[str, ...]:
    """Call `attempt` with the device; if its memory does not suffice, once more with "cpu". Returns notes for people.

    What was computed before may stay where `attempt` finds it again. Raises what `attempt` raises, and what the processor does.
    """
    import torch

    try:
        attempt(device)
        return ()
    except RuntimeError as e:
        if device == "cpu" or not (isinstance(e, torch.OutOfMemoryError) or out_of_memory(e)):
            raise
    torch.cuda.empty_cache()  # outside of the handler, which keeps the tensors of the failed attempt alive
    attempt("cpu")
    return (NOTE,)
