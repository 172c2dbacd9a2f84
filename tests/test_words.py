"""Names and prose use plain English words. This test lists words to avoid, and what to write instead."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from places import ROOT

FOLDERS = ("protogen", "examples", "benchmarks", "fuzz", "docs", "templates", "tests")
SUFFIXES = {".py", ".md", ".toml", ".proto", ".j2", ".html", ".js", ".css"}
FILES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in SUFFIXES),
]
SKIPPED = {  # file or folder, and the reason
    "tests/test_words.py": "quotes the words",
    "fuzz/findings": "invalid files that fuzzing generated",
}

# Names of variables, parameters, functions and classes that do not describe the value.
VAGUE_NAMES = {"made", "found", "told", "kept", "given", "mine", "mended", "hollow", "lifted"}

# A regular expression (case is ignored), and what to write instead.
WORDS = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bhollow": "memory-mapped initializers",
    r"\blift(s|ed|ing)?\b": "import",
    r"\bwhoever\b": "the user, the caller, or the module that does it",
    r"\bshall\b": "must, or the present tense",
    r"\bgently\b": "the facts, such as the name of the signal",
    r"(?<!there )\b(is|are|was|were) no (?!longer\b)": "is not a, missing, or invalid",
    r"\bstrangers?\b": "untrusted",
    r"\btold\b": "reported, or the option that sets it",
    r"\bbeforehand\b": "first, or before",
    r"\b(say|tell|mean)s? nothing\b": "has no effect, is not set, or carries no information",
    r"\bhand(s|ed)? ((it|them|its \w+) )?on\b": "passes ... through unchanged",
}
ANY_VAGUE_NAME = re.compile(rf"\b_*({'|'.join(VAGUE_NAMES)})_*\b")
ANY_WORD = re.compile("|".join(WORDS), re.IGNORECASE)


def texts_of(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text): blocks of comments and strings of a Python file, paragraphs of others."""
    if path.suffix != ".py":
        for match in re.finditer(r"(?:.+\n?)+", source):
            yield source.count("\n", 0, match.start()) + 1, match.group()
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    first = last = 0  # lines of a block of comments
    block = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if line != last + 1:
            yield first, block
            first, block = line, ""
        block += token.string.lstrip("#")
        last = line
    yield first, block


def bad_words(path: Path, source: str) -> Iterator[str]:
    # Most files have none of the words, and are not parsed. Joins lines of comments and parts of strings.
    joined = re.sub(r"""["'#\s]+(?:[bfr]+["'])?["'#\s]*""", " ", source)
    if not ANY_WORD.search(joined):
        return
    for line, text in texts_of(path, source):
        plain = " ".join(text.split())
        for word, advice in WORDS.items():
            if match := re.search(word, plain, re.IGNORECASE):
                yield f"{path}:{line}: {match.group()!r}: write instead: {advice}"


def vague_names(path: Path, source: str) -> Iterator[str]:
    if not ANY_VAGUE_NAME.search(source):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        else:
            continue
        if name.strip("_") in VAGUE_NAMES:
            yield f"{path}:{node.lineno}: name {name!r}: write what the value is"


def test_names_and_words_are_plain():
    problems = []
    for path in FILES:
        name = path.relative_to(ROOT)
        if any(name.is_relative_to(skipped) for skipped in SKIPPED):
            continue
        source = path.read_text(encoding="utf-8")
        problems += bad_words(name, source)
        if path.suffix == ".py":
            problems += vague_names(name, source)
    assert not problems, "\n".join(problems)


def test_vague_names_and_bad_words_are_reported():
    sentences = [
        "It mends the file",
        "A hollow model",
        "Lift the net",
        "Whoever reads it",
        "It shall stop",
        "Stop gently",
        "This is no model",
        "Files from strangers",
        "The reader is told",
        "Check beforehand",
        "It says nothing",
        "The layer hands its bottom on.",
    ]
    assert len(sentences) == len(WORDS)
    for sentence, (word, advice) in zip(sentences, WORDS.items(), strict=True):
        for name, source in (
            ("a.md", f"# Title\n\n{sentence.replace(' ', chr(10))}\n"),
            ("a.py", f"x = 1  # {sentence}\n"),
            ("a.py", f'def f():\n    """{sentence}"""\n'),
            ("a.py", f"x = f'{{y}} {sentence}'\n"),
            ("a.py", "x = (\n" + "".join(f'    f"{part} "\n' for part in sentence.split()) + ")\n"),
            ("a.py", "".join(f"# {part}\n" for part in sentence.rsplit(" ", 2))),
        ):
            (problem,) = bad_words(Path(name), source)
            assert problem.endswith(advice), word
    for plain in ("There is no model. It is no longer used.", "A lifetime is meaningless."):
        assert list(bad_words(Path("a.md"), plain)) == []
    for source in ("made = 1", "def f(told): pass", "def _found(): pass", "for kept in x: pass"):
        (problem,) = vague_names(Path("a.py"), source)
        assert problem.startswith("a.py:1: name")
