"""Reads files as records: layouts, tables, text files, streams with an index on disk, the cache, splits."""
