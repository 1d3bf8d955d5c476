"""Metrics, bootstrap intervals, comparison, calibration, label shift."""
