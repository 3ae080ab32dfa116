"""Armature's own Relax passes, one per file; `compile.lower` lists them in order."""
