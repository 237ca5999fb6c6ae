"""A run on disk, and the real data kept with it."""
