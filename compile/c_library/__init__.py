"""A compiled network as one plain C library that needs no runtime: docs/c-library.md."""
