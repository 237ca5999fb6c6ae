"""Data quality checks, and what the data can support."""
