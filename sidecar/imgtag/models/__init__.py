"""Model files: the folder that holds them, the catalogue, downloads, and the snapshots that a running sidecar uses."""
