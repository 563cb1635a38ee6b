"""The whole job once, over real HTTP: ``python -m panel_site.demo [--dir PATH] [--keep]``."""
