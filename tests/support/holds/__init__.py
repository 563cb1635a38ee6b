"""An app of the host project whose rows refer to backups."""
