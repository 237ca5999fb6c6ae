"""The training loop and what belongs to it: optimizers, checkpoints, processes, monitors, progress."""
