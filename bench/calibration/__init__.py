"""Holds the cycle model against silicon: other engines are priced on published boards (docs/timing.md)."""
