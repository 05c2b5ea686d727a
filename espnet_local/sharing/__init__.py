"""Models to share: a packed file with a model card."""
