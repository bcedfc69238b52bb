"""Weights out to PyTorch's formats and in from them, by name, without loss, proven."""
