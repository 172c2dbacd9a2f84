"""onnxruntime's telemetry is off: it would store an identifier and its events in the user's folder."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }"""


def stored(folder, *command: str, **variables: str) -> list[str]:
    """The files of onnxruntime in the user's folders after a process."""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder), **variables}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    return [str(path) for path in folder.rglob("*") if "onnxruntime" in str(path)]


@pytest.mark.parametrize("words", [("run", "--random"), ("verify",), ("health", "--no-gradients")])
def test_runs_store_nothing(tmp_path, words):
    net, home = tmp_path / "net.prototxt", tmp_path / "home"
    home.mkdir()
    net.write_text(NET)
    weighted = NET.replace('"ReLU"', '"Convolution"').replace(
        'top: "relu" }', 'top: "relu" convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }'
    )  # fmt: skip
    if words[0] == "health":
        net.write_text(weighted)
    nets = [str(net)] * (2 if words[0] == "verify" else 1)
    code = "from protogen.cli import main; main()"
    script = f"import sys; sys.argv = ['protogen', *{[*words[:1], *nets, *words[1:]]!r}]\n{code}"
    if words[0] == "health":
        script = script.replace(code, f"\ntry:\n    {code}\nexcept SystemExit:\n    pass")
    assert stored(home, "-c", script) == []


def test_the_users_own_setting_is_left_alone(tmp_path):
    code = "import os; from protogen.onnx.session import library; library(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "0"},
    )
    assert done.stdout.strip() == "0"
