"""Start order, readiness, drain."""
