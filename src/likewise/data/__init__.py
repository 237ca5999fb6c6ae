"""Files to records: layouts, tables, text files, indexed and columnar sources, the cache, splits."""
