"""Measures of samples beside real data, with intervals."""
