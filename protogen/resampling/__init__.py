"""Mathematics of resizing, and a planner that expresses any separable resize as stock Caffe layers.

``request`` describes the resize. ``strategies`` find chains of ``stages`` for each axis. ``emit``
turns chains into layers. ``planning`` chooses the cheapest plan within the limits of a target.
"""
