"""The folder of models: what is in it, how something comes into it, and what a running sidecar keeps of it."""
