"""The worker process: decodes pictures and runs the model, without credentials or configuration."""
