"""One file a modality, its encodings beside it."""
