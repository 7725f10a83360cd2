"""A learner for a CPU: a pixel classifier on multi-scale filters, fitted in seconds on the labels of a few patches."""
