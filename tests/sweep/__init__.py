"""Sweeps: one fault of every member of a kind. `scripts/sweep` runs all, the suite a few drawn by its seed."""
