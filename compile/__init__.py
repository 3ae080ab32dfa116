"""The pipeline from a PyTorch model to a deployable ARM library: one module per stage."""

__version__ = "0.1.0"
