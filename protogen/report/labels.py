"""Labels of boxes: names that are cut in the middle and stay different from each other."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Sequence

LETTER = 6.4  # pixels: width of an average letter
BOLD = 7.4  # pixels: width of an average bold letter
_WIDE = 11.4  # pixels: width of the widest bold letters
_CAPITAL = 8.6  # pixels: width of an average bold capital letter
_CUT = "…"


def text_width(text: str, letter: float = BOLD) -> float:
    """Estimate the width of a text in pixels, at least; ``letter`` is that of an average letter."""
    wide, capital = letter * _WIDE / BOLD, letter * _CAPITAL / BOLD
    total = 0.0
    for character in text:
        if character in "mwMW@%" or unicodedata.east_asian_width(character) in "WF":
            total += wide
        elif character.isupper() or not character.isascii():
            total += capital
        else:
            total += letter
    return total


def short(text: str, limit: int) -> str:
    """Shorten a text to ``limit`` characters by leaving out its middle."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}{_CUT}{text[len(text) - (limit - limit // 2 - 1) :]}"


def labels(names: Iterable[str], limit: int, letter: float = BOLD) -> dict[str, str]:
    """Return a label for each name, so that different names have different labels.

    A name that fits is its own label. Others are cut in the middle, so that both ends are visible.
    Where that makes labels equal, the part in which the names differ stays visible too, and if that
    is too long, the label ends with a number in brackets.

    Args:
        names: the names; a name may occur several times.
        limit: characters of a label at most, if they have the average width.
        letter: width of an average letter in pixels.
    """
    texts = {name: printable(name) for name in names}
    limits = {name: _limit(text, limit, limit * letter, letter) for name, text in texts.items()}
    fitting = [name for name, text in texts.items() if len(text) <= limits[name]]
    taken = _Taken({name for name in fitting if texts[name] == name})
    chosen = {}
    for name in fitting:
        unchanged = texts[name] == name
        chosen[name] = name if unchanged else taken.free(texts[name], limits[name])
    groups: dict[str, list[str]] = {}
    for name, text in texts.items():
        if name not in chosen:
            groups.setdefault(short(text, limits[name]), []).append(name)
    for label, group in groups.items():
        least = min(limits[name] for name in group)
        single = len(group) == 1 and label not in taken
        cut = [label] if single else _differing([texts[name] for name in group], least)
        for name, candidate in zip(group, cut, strict=True):
            chosen[name] = taken.free(candidate, limits[name])
    return chosen


def printable(text: str) -> str:
    """Replace the characters of a name that are not printable, which XML does not allow."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


class _Taken:
    """Labels that are used."""

    def __init__(self, labels: set[str]) -> None:
        self._labels = labels
        self._numbers: dict[str, int] = {}

    def __contains__(self, label: str) -> bool:
        return label in self._labels

    def free(self, label: str, limit: int) -> str:
        """Return the label, or one with a number in brackets if it is used. It is then used."""
        candidate = label
        while candidate in self._labels:
            number = self._numbers[label] = self._numbers.get(label, 1) + 1
            suffix = f" ({number})"
            candidate = short(label, max(limit - len(suffix), 3)) + suffix
        self._labels.add(candidate)
        return candidate


def _limit(name: str, limit: int, width: float, letter: float) -> int:
    """Return how many characters of a name fit: fewer than ``limit`` if its letters are wide."""
    share = text_width(name, letter) / len(name) if name else letter
    return max(8, min(limit, int(width / share + 1e-6)))


def _differing(group: Sequence[str], limit: int) -> list[str]:
    """Return labels that show both ends of each name and the part in which the names differ."""
    first = len(common_prefix(group))
    last = len(common_prefix([name[::-1] for name in group]))
    ends = max(2, (limit - 2) // 4)
    result = []
    for name in group:
        # A name may end within the common prefix of the others: the differing part is then empty.
        start, end = min(first, len(name)), max(len(name) - last, min(first, len(name)))
        tail = min(ends, len(name) - end)
        head = min(ends, start)
        room = limit - head - tail - 2 * len(_CUT)
        if end - start > room:
            result.append(short(name, limit))
            continue
        left = max(head, start - (room - (end - start)) // 2)
        right = min(len(name) - tail, left + room)
        left = max(head, right - room)
        result.append(
            name[:head]
            + (_CUT if left > head else "")
            + name[left:right]
            + (_CUT if right < len(name) - tail else "")
            + name[len(name) - tail :]
        )
    return result


def common_prefix(names: Sequence[str]) -> str:
    """Return the text with which all names begin."""
    low, high = min(names), max(names)  # the common prefix of these two is that of all names
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))
    return "".join(letter for letter, _ in same)
