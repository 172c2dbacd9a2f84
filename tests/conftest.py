"""Options and fixtures that several test modules use."""

from __future__ import annotations

import difflib
import importlib.util
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from commands import CommandServer
from hypothesis import settings
from places import CORPUS, EXAMPLES, GOLDEN, SHARED

settings.register_profile("default", deadline=None)
settings.load_profile("default")


# Tests run each compiled function once, so compiling fast matters more than running fast.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
# Pair ids of the written files are digests, not random numbers: golden files stay the same.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1")
# No test writes to the user's own folder of compiled functions.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "protogen-tests-jax")
)


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker a processor of its own: onnxruntime, OpenBLAS and JAX start as many threads as
    they see processors, and the threads of several workers would wait for each other."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts programs in the background so, and they pass it on to those that they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        if int(os.environ["PYTEST_XDIST_WORKER_COUNT"]) <= len(processors):
            os.sched_setaffinity(0, {processors[int(worker.removeprefix("gw"))]})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Rewrite tests/golden/.")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Idle workers take tests from busy ones, because some tests last a minute."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with tests/golden/<name>, and show differences as a diff."""
    update = request.config.getoption("--update-golden")

    def check(name: str, actual: str) -> None:
        path = GOLDEN / name
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(actual, encoding="utf-8", newline="")
        if not path.exists():
            pytest.fail(f"{path.name} is missing: run pytest --update-golden and read it")
        expected = path.read_bytes().decode("utf-8")
        if actual != expected:
            lines = difflib.unified_diff(
                expected.splitlines(True), actual.splitlines(True), f"golden/{name}", "now"
            )
            pytest.fail("".join(lines), pytrace=False)

    return check


@pytest.fixture(scope="session")
def onnx_1_23_cases() -> None:
    """Skip if onnx is older than 1.23, whose test cases are in the tables of the docs.

    Older releases have other test cases, and some of these need an older numpy.
    """
    import onnx

    if tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23):
        pytest.skip(f"onnx {onnx.__version__} has other test cases; 1.23's are in the docs")


@pytest.fixture(scope="session")
def commands() -> Iterator[CommandServer]:
    """Return the server that runs commands in forked processes."""
    server = CommandServer()
    yield server
    server.close()


@pytest.fixture
def protogen(
    commands: CommandServer, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command line in a new process, in an empty folder."""

    def run(*args: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return commands.run(*args, cwd=cwd)

    return run


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder with published nets and goldens of whole nets; skip if it is missing."""
    if not CORPUS.is_dir():
        pytest.skip("../shared is missing, which tests of published nets need")
    return SHARED


@pytest.fixture(scope="session")
def golden_script() -> ModuleType:
    """Import the script that generates weights and inputs for the goldens of published nets."""
    spec = importlib.util.spec_from_file_location("weights", SHARED / "golden" / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "truth":
            item.add_marker(pytest.mark.truth)


@pytest.fixture(scope="session")
def judges() -> None:
    """Skip if real Caffe is not installed."""
    from judge import NAMES, missing

    for name in NAMES:
        if why := missing(name):
            pytest.skip(why)


@pytest.fixture
def fcn8s(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the text of the FCN-8s of examples/unet_fcn8s.py."""
    monkeypatch.syspath_prepend(EXAMPLES)
    from unet_fcn8s import fcn8s

    return str(fcn8s().to_proto())
