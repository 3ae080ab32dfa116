"""Runs a network that Armature compiled to a C library: needs numpy, and neither TVM nor PyTorch.

import armature

with armature.load("build/mnv2") as network:
    (logits,) = network(image)
"""

from armature.errors import ArmatureError, CallError, LoadError
from armature.network import Network, load
from armature.tensor import Tensor

__all__ = ["ArmatureError", "CallError", "LoadError", "Network", "Tensor", "load"]
