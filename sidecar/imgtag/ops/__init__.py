"""What operators see of a running sidecar: logs, metrics, health."""
