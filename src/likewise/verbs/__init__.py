"""One verb, one file: look, train, sample, evaluate, compare, explain, export, verify, prove."""
