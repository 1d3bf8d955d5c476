"""Audit of a paper's printed numbers: what cannot be, with the arithmetic."""

from evenface.audit.auditing import audit
from evenface.audit.findings import Audit, Finding
from evenface.audit.loading import load_claims, shipped_claims

__all__ = ["Audit", "Finding", "audit", "load_claims", "shipped_claims"]
