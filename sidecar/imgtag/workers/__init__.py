"""The processes that decode and classify, and their pool."""
