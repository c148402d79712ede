"""The configuration: its schema, where it comes from, what is wrong with it, and how it is shown."""
