"""The command `imgtag`; one module for each of its commands."""
