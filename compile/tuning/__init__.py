"""Searching the kernels' schedule spaces on a device."""
