"""The loss: InfoNCE over in-batch negatives."""

from hybridlib.loss.module import InfoNCE

__all__ = ["InfoNCE"]
