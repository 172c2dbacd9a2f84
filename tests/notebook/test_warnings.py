"""Warnings of protogen are printed as one sentence, and other warnings as Python prints them."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest
from places import EXAMPLES

import protogen as pg
from protogen.errors import ProtogenWarning, warn

SENTENCE = (
    "protogen: warning: net.prototxt:1:10: unknown field nme in NetParameter; it is kept. "
    "Did you mean name?\n"
)


@pytest.fixture
def script(tmp_path):
    """Run code in a process of its own, in a folder with a net that has an unknown field."""
    (tmp_path / "net.prototxt").write_text(
        'name:"x" nme: "x"\nlayer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }\n'
    )

    def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "script.py"
        path.write_text(code)
        return subprocess.run(
            [sys.executable, *options, path.name],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
        )

    return run


def test_warning_is_one_sentence(script):
    done = script('import protogen as pg\npg.load("net.prototxt")\n')
    assert done.stderr == SENTENCE


def test_other_warnings_are_as_before(script):
    code = (
        "import warnings, protogen as pg\n"
        'pg.load("net.prototxt")\n'
        'warnings.warn("of the user")\n'
        "open(__file__)\n"
    )
    done = script(code, "-W", "default", "-X", "tracemalloc=3")
    first, second, *rest = done.stderr.splitlines()
    assert first + "\n" == SENTENCE
    assert second.endswith("script.py:3: UserWarning: of the user")
    assert rest[0] == '  warnings.warn("of the user")'
    # A permanent replacement of warnings.formatwarning would lose where the object was allocated.
    assert any("Object allocated at" in line for line in rest)


def test_hook_is_removed_after_each_warning():
    before = warnings.formatwarning
    with pytest.warns(ProtogenWarning):
        warn(ProtogenWarning("is strange"))
    assert warnings.formatwarning is before


def test_format_of_a_user_is_respected(script):
    code = (
        "import warnings\n"
        "warnings.formatwarning = lambda message, *_: f'mine: {message}\\n'\n"
        "import protogen as pg\n"
        'pg.load("net.prototxt")\n'
    )
    assert script(code).stderr == SENTENCE.replace("protogen: warning:", "mine:")


def test_warning_as_an_error(script):
    code = (
        "import protogen as pg\n"
        "try:\n"
        '    pg.load("net.prototxt")\n'
        "except pg.ProtogenWarning as error:\n"
        "    print('raised', error)\n"
    )
    done = script(code, "-W", "error")
    assert done.stdout == SENTENCE.replace("protogen: warning:", "raised")
    assert done.stderr == ""


def test_warning_belongs_to_the_line_of_the_caller():
    """Filters by module, and the rule that a line warns once, refer to the user's code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pg.initialise(pg.load(EXAMPLES / "tiny.prototxt"))
    assert {one.filename for one in caught} == {__file__}


def test_warning_goes_to_the_log(script):
    code = (
        "import logging, protogen as pg\n"
        "logging.basicConfig(format='%(message)s')\n"
        "logging.captureWarnings(True)\n"
        'pg.load("net.prototxt")\n'
    )
    assert script(code).stderr.strip() == SENTENCE.strip()
    logging.captureWarnings(False)


def test_names_in_warnings_are_escaped(script):
    code = (
        "from protogen.errors import ProtogenWarning, warn\n"
        "warn(ProtogenWarning('is red', subject='layer \"\\x1b[31m\"'))\n"
    )
    assert script(code).stderr == 'protogen: warning: layer "\\x1b[31m": is red.\n'
