"""Simple models with a long history, in closed form: what learning has to beat."""
