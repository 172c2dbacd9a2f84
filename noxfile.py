"""The same tests on other Pythons and other releases of what protogen needs.

nox -l                   what there is
nox -s tests             every Python that is installed
nox -s oldest newest     the ends of each dependency's range
nox -s pure              protobuf in Python, without its C parts
nox -s coverage          branches, at least 95 %
nox -s fuzz              a minute of broken files
nox -s release           wheel, source archive, SBOM, licences
"""

import pathlib
import tomllib

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "oldest", "newest", "pure"]
PYTHONS = ["3.11", "3.12", "3.13"]
PROJECT = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]


def run_tests(session: nox.Session, *more: str) -> None:
    session.run("pytest", "-q", "-n", "auto", *more, *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite."""
    session.install("-e", ".[test]")
    run_tests(session)


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """The lowest release of each dependency, optional ones too, that pyproject.toml allows. What
    these need themselves is the newest that fits."""
    extras = PROJECT["optional-dependencies"]
    (all_of,) = extras["all"]  # protogen[hdf5,...]
    optional = all_of.partition("[")[2].rstrip("]").split(",")
    named = [*PROJECT["dependencies"], *(one for name in optional for one in extras[name])]
    lowest = [one.split(",")[0].replace(">=", "==") for one in named]
    limits = pathlib.Path(session.create_tmp()) / "lowest.txt"
    limits.write_text("\n".join(lowest))
    session.install("-e", ".[test]", "-c", str(limits))
    # The docs show what today's releases print.
    run_tests(session, "--deselect", "tests/test_docs.py::test_shown_commands")


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """The newest release of each, those before their final version too."""
    session.install("-e", ".[test]")
    session.install("--upgrade", "--pre", *(one.split(">")[0] for one in PROJECT["dependencies"]))
    run_tests(session)


@nox.session(python="3.11")
def pure(session: nox.Session) -> None:
    """protobuf's own Python: what platforms without wheels run."""
    session.install("-e", ".[test]")
    session.env["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    run_tests(session)


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Branches that the tests pass through, those of commands in processes of their own too."""
    session.install("-e", ".[test,opencv]", "pytest-cov>=6", "coverage>=7.10")
    run_tests(session, "--cov", "--cov-report=term")


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """All targets, led by coverage where atheris is to be had."""
    session.install("-e", ".[test]", "atheris; sys_platform == 'linux'")
    session.run("python", "fuzz/fuzz.py", "--guided", *(session.posargs or ["--seconds", "4"]))


@nox.session(python=PYTHONS[-1])
def release(session: nox.Session) -> None:
    """What is published, and what is said of it."""
    session.install("build", "twine")
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", *map(str, pathlib.Path("dist").iterdir()))
    session.install(".[all]", "cyclonedx-bom", "pip-licenses")
    pathlib.Path("build").mkdir(exist_ok=True)
    session.run("cyclonedx-py", "environment", "--pyproject", "pyproject.toml", "--output-reproducible",
                "-o", "build/sbom.json")  # fmt: skip
    session.run("pip-licenses", "--format=markdown", "--output-file", "build/licences.md")
