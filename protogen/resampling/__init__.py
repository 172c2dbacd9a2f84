"""The mathematics of resizing, and the planner: any separable resize as stock Caffe layers.

``request`` says what is wanted, ``strategies`` find chains of ``stages`` for each axis, ``emit``
makes layers of them, and ``planning`` chooses within a target's limits.
"""
