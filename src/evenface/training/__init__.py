"""Training: build, fit, trainer, batches, checkpoints, hyperparameter search; stacked/ trains many networks as one."""
