"""The rules about backups, each in one place: pure functions, a module for each subject.

Nothing here writes the database or asks a store.
"""
