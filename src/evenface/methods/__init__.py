"""Imbalance methods, one file each."""
