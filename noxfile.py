"""Test sessions with other versions of Python and of the dependencies.

nox -l                   list all sessions
nox -s tests             all installed versions of Python
nox -s oldest newest     the lowest and the newest version of each dependency
nox -s pure              protobuf in pure Python
nox -s coverage          branch coverage, at least 95 %
nox -s fuzz              one minute of fuzzing
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


def run_tests(session: nox.Session, *options: str) -> None:
    session.run("pytest", "-q", "-n", "auto", *options, *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests."""
    session.install("-e", ".[test]")
    run_tests(session)


@nox.session(python="3.11")
def oldest(session: nox.Session) -> None:
    """Test with the lowest version of each dependency that pyproject.toml allows, optional ones too.

    Indirect dependencies have the newest compatible version.
    """
    extras = PROJECT["optional-dependencies"]
    (all_of,) = extras["all"]  # protogen[hdf5,...]
    optional = all_of.partition("[")[2].rstrip("]").split(",")
    named = [*PROJECT["dependencies"], *(one for name in optional for one in extras[name])]
    lowest = [one.split(",")[0].replace(">=", "==") for one in named]
    limits = pathlib.Path(session.create_tmp()) / "lowest.txt"
    limits.write_text("\n".join(lowest))
    session.install("-e", ".[test]", "-c", str(limits))
    # The docs show the output of the newest versions.
    run_tests(
        session, "--deselect", "tests/test_docs.py::test_shown_commands_print_the_shown_output"
    )


@nox.session(python=PYTHONS[-1])
def newest(session: nox.Session) -> None:
    """Test with the newest version of each dependency, pre-releases too."""
    session.install("-e", ".[test]")
    session.install("--upgrade", "--pre", *(one.split(">")[0] for one in PROJECT["dependencies"]))
    run_tests(session)


@nox.session(python="3.11")
def pure(session: nox.Session) -> None:
    """Test with protobuf in pure Python, as on platforms without wheels."""
    session.install("-e", ".[test]")
    session.env["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    run_tests(session)


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Measure branch coverage, including commands that run in other processes."""
    session.install("-e", ".[test,opencv]", "pytest-cov>=6", "coverage>=7.10")
    run_tests(session, "--cov", "--cov-report=term")


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """Run all targets of the fuzzer, guided by coverage if atheris is available."""
    session.install("-e", ".[test]", "atheris; sys_platform == 'linux'")
    session.run("python", "fuzz/fuzz.py", "--guided", *(session.posargs or ["--seconds", "4"]))


@nox.session(python=PYTHONS[-1])
def release(session: nox.Session) -> None:
    """Build and check the distributions, the SBOM and the list of licences."""
    session.install("build", "twine")
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", *map(str, pathlib.Path("dist").iterdir()))
    session.install(".[all]", "cyclonedx-bom", "pip-licenses")
    pathlib.Path("build").mkdir(exist_ok=True)
    session.run("cyclonedx-py", "environment", "--pyproject", "pyproject.toml", "--output-reproducible",
                "-o", "build/sbom.json")  # fmt: skip
    session.run("pip-licenses", "--format=markdown", "--output-file", "build/licences.md")
