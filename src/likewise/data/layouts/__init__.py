"""Layouts: each detects its files in a folder and reads them as records."""
