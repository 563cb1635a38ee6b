"""A host project whose own DRF settings would break every one of the endpoints.

test_errors runs it as a process of its own: DRF reads most of its settings while it is imported.
"""
