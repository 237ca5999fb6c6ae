"""Explaining a run: one file for each question that can be put to a model, and the page that holds the answers."""
