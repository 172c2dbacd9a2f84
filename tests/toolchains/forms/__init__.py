"""All forms that are measured, in order."""

from forms import (
    architectures,
    combining,
    convolution,
    dense,
    detection,
    elementwise,
    layouts,
    neighbours,
    normalization,
    pooling,
    shaping,
    whole,
)
from forms.building import Form

PARTS = (
    convolution,
    pooling,
    elementwise,
    dense,
    normalization,
    combining,
    shaping,
    detection,
    neighbours,
    layouts,
    whole,
    architectures,
)
FORMS: tuple[Form, ...] = tuple(form for part in PARTS for form in part.forms())
