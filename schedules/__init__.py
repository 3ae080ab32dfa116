"""How each kind of kernel is laid out for a core."""
