"""Everything that is said about predictions."""
