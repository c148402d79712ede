"""The label engine: from the classes of a model and the rules of an admin to labels and search terms. No I/O."""
