"""All that a plugin author sees, with ``imgtag.types`` and ``imgtag.errors``."""
