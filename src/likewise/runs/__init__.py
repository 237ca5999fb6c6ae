"""Run folders on disk, and the real data stored in them."""
