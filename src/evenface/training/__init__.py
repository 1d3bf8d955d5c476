"""The loop, its batches, its randomness and its checkpoints."""
