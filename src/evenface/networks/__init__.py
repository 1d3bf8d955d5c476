"""Networks that return logits, features and maps."""
