"""Recipe helpers, run from the repository root: `python -m local.<name>`."""
