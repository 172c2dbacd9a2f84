"""SECURITY.md promises only what tests hold."""

from __future__ import annotations

import ast
import re

from places import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
GUARANTEES = TEXT.partition("## Guarantees\n")[2].partition("\n## ")[0]


def test_each_guarantee_names_its_tests():
    bullets = re.split(r"^- ", GUARANTEES, flags=re.MULTILINE)[1:]
    assert len(bullets) >= 9
    for bullet in bullets:
        title = bullet.partition("**")[2].partition("**")[0]
        named = re.findall(r"`(test_\w+)`", bullet.partition("Tests: ")[2])
        assert named, f"{title}: no test"
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named <= defined, f"no such test: {sorted(named - defined)}"


# Modules that open connections. The server answers this machine only; PyTorch's own code is not ours.
SOCKETS = {"viewing.server"}
NETWORK = {
    "socket",
    "socketserver",
    "http",
    "urllib",
    "ssl",
    "ftplib",
    "smtplib",
    "asyncio",
    "requests",
    "xmlrpc",
}


def test_only_the_viewer_imports_sockets():
    package = ROOT / "protogen"
    importing = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                if name.split(".")[0] in NETWORK and name != "urllib.parse":
                    module = ".".join(path.relative_to(package).with_suffix("").parts)
                    importing.setdefault(module, set()).add(name)
    assert set(importing) == SOCKETS, importing
