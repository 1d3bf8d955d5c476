"""Consistency checks of the numbers that a paper prints (GRIM and its kin), with the arithmetic."""

from evenface.audit.audit import audit
from evenface.audit.findings import Audit, Finding
from evenface.audit.schema import load_claims, shipped_claims

__all__ = ["Audit", "Finding", "audit", "load_claims", "shipped_claims"]
