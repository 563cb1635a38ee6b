"""How fast it is, measured side by side: ``make bench``."""
