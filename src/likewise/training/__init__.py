"""The training loop, optimizers, checkpoints, distributed training, monitors and progress."""
