"""Pair ids of models with external data: an entry of the metadata, and the last bytes of the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnx import ModelProto

from protogen.errors import InputError
from protogen.formats import pairs

if TYPE_CHECKING:
    from protogen.formats.mapped import FileMap

KEY = "pair_id"


def set_id(model: ModelProto, pair: str) -> None:
    """Set the id in the metadata of a model; an empty one removes it."""
    others = [entry for entry in model.metadata_props if entry.key != KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    if pair:
        model.metadata_props.add(key=KEY, value=pair)


def check_id(model: ModelProto, where: str | Path, data: FileMap | bytes, path: Path) -> None:
    """Check that a model and its file of external data were written together.

    Raises:
        InputError: both have ids, and these differ.
    """
    own = next((entry.value for entry in model.metadata_props if entry.key == KEY), "")
    pair = pairs.id_of_tail(bytes(data[-pairs.TAIL :])) if own else ""
    if pair and own != pair:
        raise InputError(
            f"the model and {path} were not written together: their pair ids differ, {own} and {pair}",
            where=str(where),
            advice="One of them may be older, or a command was killed between the two. Write both again. If "
            f"they do belong together, remove the last {pairs.TAIL} bytes of {path.name}: truncate "
            f"--size=-{pairs.TAIL} {path.name}.",
        )
