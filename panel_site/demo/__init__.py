"""A backup from start to end over HTTP: ``python -m panel_site.demo [--dir PATH] [--keep]``."""
