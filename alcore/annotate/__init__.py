"""The annotation window: microSAM's annotator (or plain napari) on one patch, in a process of its own.

`python -m alcore.annotate ORDER` opens it; what is known comes in the order, what was done goes into the outcome, both files.
"""
