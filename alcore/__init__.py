"""The science of alscope: volumes, pseudo-labels, embeddings, core-sets, nnU-Net. Knows no database, no watcher, no screen."""

__version__ = "0.1.0"
