"""The host project of the benchmarks: panel_site, and beside its API what it is compared with."""
