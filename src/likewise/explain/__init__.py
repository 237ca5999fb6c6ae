"""Explanations of a run: one file for each section of the page, and the page itself."""
