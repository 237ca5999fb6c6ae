"""Layouts: each says which files are its own, and reads them as records."""
