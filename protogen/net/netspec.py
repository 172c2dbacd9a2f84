"""Definition of nets in Python, compatible with pycaffe's NetSpec.

    from protogen import NetSpec, layers as L, params as P

    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 32, 32]))
    n.conv1 = L.Convolution(n.data, num_output=16, kernel_size=3, pad=1)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    print(n.to_proto())

Scripts for pycaffe run after a change of the import; Caffe is not needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, did_you_mean
from protogen.formats.message import Message, Name
from protogen.formats.schema import caffe, message_type
from protogen.layers import LayerType

if TYPE_CHECKING:
    from protogen.net.net import Net


class Top:
    """One output of a layer, to be passed to other layers as a bottom."""

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Any:
        """Return the net up to this top, as a protobuf NetParameter."""
        return to_proto(self)


class Function:
    """One layer: its type, its bottoms, and its parameters as the user passed them."""

    def __init__(self, type_name: str, inputs: tuple[Any, ...], params: dict[str, Any]) -> None:
        for index, item in enumerate(inputs):
            if not isinstance(item, Top):
                raise TypeError(
                    f"{type_name} input {index} must be a Top, got {type(item).__name__}: "
                    "pass the return value of another layer"
                )
        self.type_name = type_name
        self.inputs: tuple[Top, ...] = inputs
        self.params = dict(params)
        self.ntop: int = self.params.pop("ntop", 1)
        self.in_place: bool = self.params.pop("in_place", False)
        if self.in_place and (len(inputs) != 1 or self.ntop != 1):
            raise InputError(
                "an in_place layer must have one bottom and one top", subject=f"layers.{type_name}"
            )
        self.tops = tuple(Top(self, n) for n in range(self.ntop))


class _Writer:
    """Names tops and layers, and collects the layers in execution order."""

    def __init__(self, names: Mapping[Top | Function, str]) -> None:
        self.names: dict[Top | Function, str] = dict(names)
        self.counts: Counter[str] = Counter()
        self.written: dict[Function, Message] = {}

    def write(self, last: Function) -> None:
        """Write a layer after the layers that it needs."""
        stack = [last]  # an explicit stack, because long chains would exceed the recursion limit
        while stack:
            fn = stack[-1]
            if fn in self.written:
                stack.pop()
                continue
            missing = [top.fn for top in fn.inputs if top.fn not in self.written]
            if missing:
                stack += reversed(missing)
                continue
            stack.pop()
            self.written[fn] = self._layer(fn)

    def _layer(self, fn: Function) -> Message:
        bottoms = [self._top_name(top) for top in fn.inputs]
        tops = bottoms if fn.in_place else [self._top_name(top) for top in fn.tops]
        if fn.in_place:
            own = self.names.get(fn.tops[0])
            self.names[fn.tops[0]] = bottoms[0]
            if own is not None:
                self.names.setdefault(fn, own)
        layer = Message(message_type("LayerParameter"))
        layer.add("name", fn.params.get("name", self._layer_name(fn)))
        layer.add("type", fn.type_name)
        for field, values in (("bottom", bottoms), ("top", tops)):
            for value in values:
                layer.add(field, value)
        _assign_all(layer, fn)
        return layer

    def _top_name(self, top: Top) -> str:
        if top not in self.names:
            self.names[top] = self._free(top.fn.type_name)
        return self.names[top]

    def _layer_name(self, fn: Function) -> str:
        if fn not in self.names:
            self.names[fn] = self._top_name(fn.tops[0]) if fn.tops else self._free(fn.type_name)
        return self.names[fn]

    def _free(self, type_name: str) -> str:
        self.counts[type_name] += 1
        return f"{type_name}{self.counts[type_name]}"


def _assign_all(layer: Message, fn: Function) -> None:
    own = _param_field(fn.type_name)
    inner = Message(message_type("LayerParameter").fields[own].message) if own else None
    for key, value in fn.params.items():
        if key == "name":
            continue
        if inner is not None and not key.endswith("param") and _has(inner, key):
            _assign(inner, key, value, fn)
        elif _has(layer, key):
            _assign(layer, key, value, fn)
        else:
            known = [*(inner.kind.fields if inner and inner.kind else ()), *_layer_fields()]
            raise InputError(
                f"unknown parameter {key!r}",
                subject=f"layers.{fn.type_name}",
                advice=did_you_mean(key, known),
            )
    if own and inner is not None and inner.fields:
        if layer.has(own):  # passed as a message and as single parameters: merge them
            inner.fields[:0] = getattr(layer, own).fields
            layer.remove(own)
        layer.add(own, inner)


def _has(message: Message, key: str) -> bool:
    return message.kind is not None and key in message.kind.fields


def _assign(message: Message, key: str, value: Any, fn: Function) -> None:
    try:
        if isinstance(value, (list, tuple)):
            for item in value:
                message.add(key, _plain(item))
        else:
            message.add(key, _plain(value))
    except InputError as error:
        inner = error.diagnostic.subject
        subject = f"layers.{fn.type_name}: {inner}" if inner else f"layers.{fn.type_name}"
        raise error.with_parts(subject=subject) from None


def _plain(value: Any) -> Any:
    """Convert numpy numbers to Python numbers, in nested values, too."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def _layer_fields() -> list[str]:
    return list(message_type("LayerParameter").fields)


def _param_field(type_name: str) -> str | None:
    """Return the LayerParameter field with the settings of a layer type, such as
    convolution_param for Convolution."""
    known = LayerType.registry.get(type_name)
    if known is not None and known.reads:
        return next(iter(known.reads))
    message = f"{type_name}Parameter"
    for field in message_type("LayerParameter").fields.values():
        if field.type_name == message and field.name.endswith("_param"):
            return field.name
    return None


class _Layers:
    """``layers.TYPE(*bottoms, **parameters)`` creates a layer and returns its top or tops."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def make(*bottoms: Any, **params: Any) -> Any:
            fn = Function(name, bottoms, params)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        make.__name__ = name
        return make


class _Params:
    """``params.Pooling.MAX`` is an enum value of PoolingParameter."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        message = f"{name}Parameter"
        if message not in caffe().messages:
            raise AttributeError(f"unknown message {message}")
        return _Values(message)


class _Values:
    """The enum values of one message."""

    def __init__(self, message: str) -> None:
        self._message = message

    def __getattr__(self, name: str) -> Name:
        for enum_name, enum in caffe().enums.items():
            if enum_name.rpartition(".")[0] == self._message and name in enum.values:
                return Name(name)
        raise AttributeError(f"{self._message} has no enum value {name}")


layers = _Layers()
params = _Params()


class NetSpec:
    """A net under construction: its attributes are tops by name. See the example of the module."""

    def __init__(self) -> None:
        super().__setattr__("tops", {})

    tops: dict[str, Top | Function]

    def __setattr__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.tops:
            raise AttributeError(f"the net has no top named {name!r}")
        return self.tops[name]

    def __setitem__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getitem__(self, name: str) -> Any:
        return self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tops

    def __iter__(self) -> Iterator[str]:
        return iter(self.tops)

    def keys(self) -> list[str]:
        return list(self.tops)

    def vals(self) -> list[Top | Function]:
        return list(self.tops.values())

    def update(self, tops: Mapping[str, Top | Function]) -> None:
        self.tops.update(tops)

    def message(self) -> Message:
        """Return the NetParameter as a Message of protogen.

        Raises:
            InputError: a layer has an unknown parameter or an invalid value.
        """
        writer = _Writer({value: name for name, value in self.tops.items()})
        for value in self.tops.values():
            writer.write(value if isinstance(value, Function) else value.fn)
        return _net(writer)

    def to_proto(self) -> Any:
        """Return the net as a protobuf NetParameter; ``str()`` of it is prototxt.

        Raises:
            InputError: as ``message``.
        """
        from protogen.net.binary import to_protobuf

        return to_protobuf(self.message())

    def to_net(self) -> Net:
        """Return the net with its shapes, like ``protogen.load``.

        Raises:
            InputError: as ``message``; or the net is invalid.
        """
        from protogen.formats import prototxt
        from protogen.net.net import Net

        return Net(prototxt.parse(prototxt.write(self.message()), "NetSpec"))


def to_proto(*tops: Top) -> Any:
    """Return the net that computes these tops, as a protobuf NetParameter with automatic names."""
    from protogen.net.binary import to_protobuf

    writer = _Writer({})
    for top in tops:
        writer.write(top.fn)
    return to_protobuf(_net(writer))


def _net(writer: _Writer) -> Message:
    net = Message(message_type("NetParameter"))
    for layer in writer.written.values():
        net.add("layer", layer)
    return net
