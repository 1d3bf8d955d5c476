"""A run tested on other data than it learnt from."""

from evenface.elsewhere.testing import predict_on

__all__ = ["predict_on"]
