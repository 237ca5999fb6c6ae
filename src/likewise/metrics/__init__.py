"""Metrics: comparisons of samples with real data, each with a 95% confidence interval."""
