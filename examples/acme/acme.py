"""An adapter: how ``protogen try`` runs a net in the toolchain Acme.

Acme does not exist. This adapter lets protogen compute the net, with the faults that real toolchains have:
it refuses types that it does not have, and it does not count the padding in an average.
"""

from refusal import Refused

TYPES = ("Input", "Convolution", "BatchNorm", "Scale", "ReLU", "Pooling", "InnerProduct", "Softmax")
WORDS = (r"E: (.*)",)  # the most telling lines of what it prints


def load():
    """Import the toolchain, and return its version."""
    import protogen  # a real adapter imports its toolchain here

    return "1.0"


def run(net, weights, inputs, options):
    """Convert and run a net, and return its outputs by name.

    ``net`` and ``weights`` are paths, and ``inputs`` are arrays by name. The working folder is empty and
    temporary.
    """
    import protogen as pg

    loaded = pg.load(net, weights)
    for layer in loaded.layers:
        if layer.type not in TYPES:
            print(f"E: acme has no operator for {layer.type} ({layer.name})")
            raise Refused
    text = open(net).read().replace("pool: AVE", "pool: AVE_EXC_PAD")
    open("changed.prototxt", "w").write(text)
    return pg.run(pg.load("changed.prototxt", weights), inputs)
