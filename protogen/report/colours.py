"""Colours of the boxes in drawings: by family of layers, for light and dark, and their legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """Families of layers that share their colours.

    ``light`` and ``dark`` are the colours of the inside and of the edge.
    """

    label: str
    light: tuple[str, str]
    dark: tuple[str, str]
    families: tuple[str, ...]


# In the order of the legend.
KINDS = (
    Kind("data and outputs", ("#ffffff", "#1f2933"), ("#12181f", "#cbd2d9"), ("endpoints",)),
    Kind("convolution", ("#d7e6f0", "#2a6f97"), ("#17384d", "#6fb3dc"), ("convolution", "im2col")),
    Kind("pooling", ("#dcead3", "#4f772d"), ("#263a1b", "#8fbf68"), ("pooling",)),
    Kind(
        "activation and arithmetic",
        ("#f6e6d2", "#b5742a"),
        ("#45301a", "#dca25c"),
        ("activation", "combining", "elementwise"),
    ),
    Kind(
        "normalisation and scale",
        ("#e9ecd0", "#7d8433"),
        ("#363a1c", "#b9c05f"),
        ("normalization", "scaling"),
    ),
    Kind(
        "inner product and recurrent",
        ("#e5dcef", "#7a5196"),
        ("#37264a", "#b48fd0"),
        ("dense", "recurrent", "sequences"),
    ),
    Kind(
        "shape and order",
        ("#e6e9ec", "#5c6b73"),
        ("#2b343d", "#9aa5b1"),
        ("shaping", "ordering", "reduction"),
    ),
    Kind(
        "softmax, loss and accuracy",
        ("#f3d9da", "#a8474d"),
        ("#4a2427", "#e58a8f"),
        ("loss", "softmax", "measuring"),
    ),
    Kind("detection", ("#f3dfea", "#a04f7c"), ("#44243a", "#d98bb5"), ("detection", "regions")),
    Kind(
        "resizing and flow",
        ("#d3ece8", "#2b8074"),
        ("#16403a", "#5fc0b2"),
        ("flow", "resizing", "exact_resize"),
    ),
    Kind(
        "other types of forks",
        ("#e3e8f4", "#4a5f9e"),
        ("#253052", "#8ea3e0"),
        ("synopsys", "forks"),
    ),
    Kind("unknown type", ("#fff3b0", "#9a7d0a"), ("#4d420f", "#e0c341"), ("unknown",)),
    Kind("repeated block", ("#eef2f5", "#5c6b73"), ("#1f2932", "#9aa5b1"), ("repeat",)),
    Kind("layer drawn elsewhere", ("#ffffff", "#8a949c"), ("#12181f", "#7b8794"), ("stub",)),
)
BY_FAMILY = {family: kind for kind in KINDS for family in kind.families}
DASHED = ("stub",)  # families whose boxes have a dashed edge

# Colours of everything else: (light, dark).
INK = ("#1f2933", "#e4e7eb")
PAPER = ("#ffffff", "#12181f")
EDGE = ("#7b8794", "#8a97a5")
FRAME = ("#c3ccd4", "#4a5763")
FLAW = ("#c1666b", "#e58a8f")
ADDED = ("#2b8a3e", "#69db7c")
CHANGED = ("#e8590c", "#ff922b")


def kinds_of(families: Iterable[str]) -> list[Kind]:
    """Return the kinds of these families, each once, in the order of the legend."""
    used = {BY_FAMILY.get(family, BY_FAMILY["unknown"]).label for family in families}
    return [kind for kind in KINDS if kind.label in used]


def stylesheet(dark: bool | None = None) -> str:
    """Return the CSS of a drawing.

    Args:
        dark: dark colours, or light ones; by default light ones, and dark ones on screens whose
            system prefers them.
    """
    rules = (
        "text{font:11px 'DejaVu Sans',Verdana,sans-serif;text-anchor:middle}\n"
        ".box .name,.legend .head{font-weight:bold}\n"
        ".legend text{text-anchor:start}\n"
        ".box rect{stroke-width:1.1}\n"
        f"{','.join(f'.{family} rect' for family in DASHED)}{{stroke-dasharray:3 2}}\n"
        ".edge{fill:none;stroke-width:1.2}\n"
        ".frame{fill:none;stroke-dasharray:4 3}\n"
        ".added rect,.changed rect{stroke-width:3}\n"
    )
    if dark is None:
        preferred = f"@media screen and (prefers-color-scheme:dark){{\n{_colours(1)}}}\n"
        return rules + _colours(0) + preferred
    return rules + _colours(int(dark))


def _colours(scheme: int) -> str:
    """Return the rules with colours: scheme 0 is light, 1 is dark."""
    families: Mapping[str, tuple[str, str]] = {
        family: (kind.dark if scheme else kind.light) for family, kind in BY_FAMILY.items()
    }
    fill, edge = families["unknown"]
    return (
        f"text{{fill:{INK[scheme]}}}\n"
        f".paper{{fill:{PAPER[scheme]}}}\n"
        f".box rect{{fill:{fill};stroke:{edge}}}\n"
        + "".join(
            f".{name} rect{{fill:{inner};stroke:{outer}}}\n"
            for name, (inner, outer) in families.items()
        )
        + f".edge{{stroke:{EDGE[scheme]}}}\n.arrow{{fill:{EDGE[scheme]}}}\n"
        f".frame{{stroke:{FRAME[scheme]}}}\n.flaw{{fill:{FLAW[scheme]}}}\n"
        f".added rect{{stroke:{ADDED[scheme]}}}\n.changed rect{{stroke:{CHANGED[scheme]}}}\n"
    )
