"""Generates docs/dialects.md: the dialects of Caffe, and what each has beside BVLC Caffe."""

from __future__ import annotations

from protogen.formats.schema.dialect import dialects
from protogen.toolchains.dialects import forks_of, lacks_of

PAGE = """\
# Dialects of Caffe

<!-- The tables are generated: pytest tests/toolchains/test_dialects_page.py --update-golden -->

A dialect is a published Caffe: BVLC Caffe, its release 1.0, and the forks below. For each of them, protogen
knows the layer types that its code registers, and the fields, numbers, types, defaults and enum values of its
`caffe.proto`. The data is in `protogen/formats/schema/dialects/`; `tests/toolchains/derive_dialects.py`
derives it from the sources.

| you want | command |
|---|---|
| the dialects that a net can be of, and why | `protogen dialects NET` |
| a check that a dialect takes a net | `protogen check NET --dialect NAME` |
| an ONNX model as a net of a dialect | `protogen convert MODEL.onnx --dialect NAME -o NET.prototxt` |
| a net in layers that a dialect has | `protogen rewrite NET --target NAME` |
| what a net computes if forks disagree | `--dialect NAME`, in every command that reads a net |

## Which dialect a net is of

A net can be of a dialect that registers all of its layer types, and whose parser has all of its fields and
values. `protogen dialects` lists them: BVLC Caffe first, if it is one of them, then the fork with the fewest
differences from it. "why" are the types and fields that exclude the other dialects.

```console
$ protogen dialects examples/ssd_head.prototxt
```

`pg.dialects_of` returns the same. `protogen summary` and `protogen check` name the dialects of a net that
has layers of forks.

Some layer types have another meaning in another fork, such as `BN`, `Reorg` and an `Upsample` without a scale.
If all dialects that the net can be of agree on the meaning, protogen takes it. Otherwise it refuses the layer, names
these dialects, and `--dialect` decides.

## Binary files

The forks gave the same numbers to different fields: 147 is `swish_param` in BVLC Caffe. So the parameters in a
caffemodel have no meaning without the dialect that wrote it. `pg.load` and the commands read a caffemodel as a net
with `--dialect`; without it, as BVLC Caffe does, and if its schema does not explain the bytes, the error names the
dialects that do. A caffemodel that is written for a dialect has its numbers. The weights of a layer are found in every
file, because the fields for them are the same everywhere.

## Nets for old forks

Forks keep the state of BVLC Caffe from which they began. SSD's Caffe has no `Clip`, `Swish` and
`pooling_param.round_mode`; SegNet's has no `Scale` and `Input` either. `convert --dialect` and `rewrite --target` write other
forms of such layers, with the same numbers, or refuse the net and name the layer. A Caffe without the layer type
`Input` gets the inputs as fields of the net. Forks that read only nets in the V1 format are refused; write the net
for BVLC Caffe and run `protogen upgrade --to v1`.

## The dialects

"Supposed" means that no sources are published, but only a schema: the layer types are those of the base, and those
that have a parameter block.

"""


def generated() -> str:
    """Return the text of the page."""
    lines = ["| dialect | repository | base | description |", "|---|---|---|---|"]
    for one in dialects().values():
        where = f"[{one.repository}](https://github.com/{one.repository})"
        revision = f", {one.revision}" if one.revision else ""
        lines.append(f"| `{one.name}` | {where}{revision} | {one.base} | {one.description} |")
    lines += ["", "## Layer types", ""]
    lines += [
        "| dialect | beside those of BVLC Caffe | without these of BVLC Caffe |",
        "|---|---|---|",
    ]
    for one in dialects().values():
        supposed = "" if one.registers else " (supposed)"
        more, fewer = (_types(types) for types in (forks_of(one.name), lacks_of(one.name)))
        lines.append(f"| `{one.name}`{supposed} | {more} | {fewer} |")
    return PAGE + "\n".join(lines) + "\n"


def _types(types: frozenset[str]) -> str:
    return ", ".join(sorted(sorted(types), key=str.lower))
