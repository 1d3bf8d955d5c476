"""Manifest, splits, leakage checks, class imbalance, and one file per dataset."""
