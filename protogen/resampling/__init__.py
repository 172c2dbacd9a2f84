"""The resampling compiler: any separable resize as a plan of stock Caffe layers.

``request`` says what is wanted, ``strategies`` find chains of ``stages`` for each axis, ``emit``
makes layers of them, ``limits`` knows what targets take, ``planning`` chooses, ``plan`` is the
result: text, net, weights, cost and error.
"""

from protogen.resizing.api import resize
from protogen.resizing.plan import Plan

__all__ = ["Plan", "resize"]
