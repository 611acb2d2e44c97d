"""core/engines."""
