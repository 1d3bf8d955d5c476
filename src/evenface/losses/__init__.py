"""Losses, one value per sample, one short file each."""
