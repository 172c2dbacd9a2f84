"""Replaces layers in the text of a net. Other text does not change."""

from __future__ import annotations

from protogen.errors import Edit
from protogen.formats import prototxt
from protogen.formats.message import Field, Message, Source
from protogen.formats.prototxt.edits import apply_edits
from protogen.generate.stock import Stock


class Replacing:
    """The text of a net, whose layers are replaced in the order of the file."""

    def __init__(self, document: prototxt.Document) -> None:
        self._source = document.source
        self._fields = document.all("layer")
        self._indices = {id(item.value): index for index, item in enumerate(self._fields)}
        self._passed = 0
        self._uses: dict[str, list[Field]] = {}  # bottoms and tops of all layers so far, by name
        self._replaced: dict[int, list[Message]] = {}
        self._renamed: dict[int, tuple[Field, str]] = {}  # by the start of the field

    def replace(self, layer: Message, substitute: Stock) -> None:
        """Replace a layer of the text that follows all layers that were replaced before.

        Some layers work in place although their replacement cannot, because several layers of the
        replacement read the blob. Then the earlier layers get another name for this blob.

        Raises:
            UnsupportedError: that blob is an input of the net, or the other name is in use.
        """
        index = self._indices[id(layer)]
        for item in self._fields[self._passed : index]:
            self._note(item.value)
        self._passed = index
        if names := substitute.moved():
            old, new = names
            for item in self._uses.pop(old, ()):
                if item.start < 0:
                    item.value = new
                else:
                    self._renamed[item.start] = item, new
                self._uses.setdefault(new, []).append(item)
        self._passed = index + 1
        self._replaced[index] = substitute.layers
        for message in substitute.layers:
            self._note(message)

    def text(self) -> str:
        """Return the text with the layers that replace others."""
        edits: list[Edit] = [
            renamed(self._source, item, name) for item, name in self._renamed.values()
        ]
        for index, layers in self._replaced.items():
            text = prototxt.write(Message.make("NetParameter", layer=layers)).rstrip("\n")
            edits.append((self._fields[index].start, self._fields[index].end, text))
        return apply_edits(self._source.text, edits)

    def _note(self, layer: Message) -> None:
        for item in (*layer.all("bottom"), *layer.all("top")):
            self._uses.setdefault(item.value, []).append(item)


def renamed(source: Source, field: Field, name: str) -> Edit:
    """Return the edit that gives a bottom or a top another name."""
    old = source.text[field.start : field.end]
    # An item of a list has no field name.
    head = f"{field.name}: " if old.startswith(field.name) else ""
    return field.start, field.end, head + prototxt.quote(name)
