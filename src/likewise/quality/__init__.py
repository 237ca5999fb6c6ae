"""What may be wrong with the data, and what they can support."""
