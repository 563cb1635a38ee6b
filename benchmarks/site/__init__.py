"""The host project of the benchmarks: panel_site, and the views that its API is compared with."""
