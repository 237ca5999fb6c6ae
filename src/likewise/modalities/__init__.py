"""Modalities and their encodings, one file for each."""
