"""The panel's side of game-server backups, as a reusable Django app."""

__version__ = "0.1.0"
