"""Real servers for the integration tests, on loopback."""
