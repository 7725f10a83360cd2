"""Weights of models made elsewhere: what can be had and under which licence, where it lies, and how it is fetched."""
