"""What everything else is said in: frozen dataclasses and pure functions, no I/O."""
