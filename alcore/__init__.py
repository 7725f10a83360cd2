"""The science of alscope: volumes, pseudo-labels, embeddings, core-sets, nnU-Net. Knows no database, no watcher, no screen."""

import os

__version__ = "0.1.0"

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
"""oneDNN, which computes torch's convolutions, reads it once, so it is set before anything imports torch. Without it, processors with
AMX use kernels that write beyond their memory (torch 2.15, bfloat16 gradients of small 3D networks): trainings died of a corrupted
heap, and what does not die may be wrong (decision 31). Has no effect on other processors; a value that is set already stands."""
