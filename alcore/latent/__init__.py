"""The latent space of a pool in two dimensions. The import is heavy (umap): for workers only."""

from alcore.latent.projection import Projection, among, project

__all__ = ["Projection", "among", "project"]
