"""The Content-Security-Policy of the pages: which scripts run, and that nothing is loaded elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from functools import cache
from pathlib import Path

_NET = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 } } }\n'
_EVERYWHERE = "default-src 'none'; base-uri 'none'; form-action 'none'"
POLICY = (
    f"{_EVERYWHERE}; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
    "img-src data:; frame-ancestors 'none'"
)


@cache
def report_policy() -> str:
    """Return the policy of the report page, which has its scripts and styles in its text.

    The scripts that may run are those of the page of a fixed net: whatever the names in a net
    are, they cannot add one.
    """
    from protogen.report.write import write_report

    with tempfile.TemporaryDirectory(prefix="protogen.") as folder:
        net = Path(folder, "net.prototxt")
        net.write_text(_NET, encoding="utf-8")
        text = write_report(net, Path(folder, "net.html")).read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    sources = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"{_EVERYWHERE}; script-src {sources}; style-src 'unsafe-inline'; img-src data:; "
        "frame-ancestors 'self'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
