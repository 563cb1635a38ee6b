"""Benchmarks that compare two things measured in turns: ``make bench``."""
