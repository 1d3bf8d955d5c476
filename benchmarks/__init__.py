"""Benchmarks of the speed, memory and accuracy of evenface; ``python -m benchmarks.speed`` runs those of speed."""
