"""The documents are true: they name all that there is, and what they say can be run, runs."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import re
from pathlib import Path
from typing import Final

import pytest

from reauth_proxy import errors
from reauth_proxy.cli import cli
from reauth_proxy.telemetry.metrics import HELP
from tests.fakes.arrivals import PATIENCE
from tests.fakes.program import program

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = sorted((ROOT / "docs").glob("*.md"))
PAGES: Final = [*DOCS, ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]


def text(name: str) -> str:
    return (ROOT / name).read_text()


def rows(page: str, column: int = 0) -> set[str]:
    """Return what stands in backticks in a column of a page's tables."""
    found = set()
    for line in text(page).splitlines():
        if line.startswith("| `"):
            found |= set(re.findall(r"`([^`]+)`", line.strip("| ").split(" | ")[column]))
    return found


def codes() -> set[str]:
    """Return the code of every answer that the proxy makes."""
    kinds, found = [errors.Refusal], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if "code" in vars(kind):
            found.add(kind.code)
    return found


def metric_names() -> set[str]:
    counters = {"reauth_proxy_requests", "reauth_proxy_refreshes", "reauth_proxy_replays", "reauth_proxy_logouts"}
    return {f"{name}_total" if name in counters else name for name in HELP}


def events() -> set[str]:
    """Return every event that is logged: the first argument, with a dot in it, of a call on a logger."""
    found = set()
    for path in (ROOT / "reauth_proxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            value = node.args[0].value
            if called in _LEVELS and isinstance(value, str) and re.fullmatch(r"[a-z]+\.[a-z_]+", value):
                found.add(value)
    return found | {"request.finished"}  # written by hand, for speed


_LEVELS: Final = {"debug", "info", "warning", "error", "exception", "critical", "say"}


def test_every_code_is_explained() -> None:
    assert codes() <= rows("docs/troubleshooting.md")
    assert {"logged_out", "bad_request", "upstream_timeout"} <= codes()


def test_every_metric_is_explained_and_no_other() -> None:
    assert {name for name in rows("docs/metrics-and-logs.md") if name.startswith("reauth_proxy")} == metric_names()


def test_every_event_is_explained_and_no_other() -> None:
    explained = {name for name in rows("docs/metrics-and-logs.md") if re.fullmatch(r"[a-z]+\.[a-z_]+", name)}
    assert explained == events()
    assert {"refresh.issued", "session.revoked", "request.finished", "log.dropped"} <= events()


def test_every_outcome_and_cause_is_explained() -> None:
    page = text("docs/metrics-and-logs.md")
    for path in (ROOT / "reauth_proxy" / "forward").glob("*.py"):
        for outcome in re.findall(r'outcome(?:, \w+\.?\w*)? = (?:204, )?"([a-z_]+)"', path.read_text()):
            assert f"`{outcome}`" in page, outcome
    for cause in ("rejected", "expired", "renewal", "interrupted", "asked"):
        assert f"`{cause}`" in page


def test_the_commands_are_what_help_says() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert text("docs/commands.md") == generate.commands(), "make docs"
    for name, command in cli.commands.items():
        assert f"## reauth-proxy {name}" in text("docs/commands.md")
        assert "Example" in (command.help or ""), f"{name} --help has no example"


def test_every_page_is_in_the_index() -> None:
    index = text("docs/README.md")
    for page in DOCS:
        assert page.name == "README.md" or f"]({page.name})" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target


def test_every_endpoint_of_the_control_plane_and_for_frontends_is_explained() -> None:
    plane = text("reauth_proxy/control/plane.py")
    for method, path in re.findall(r'web\.(get|put|post|delete)\("(/[a-z]+)"', plane):
        assert f"{method.upper()} {path}" in text("docs/operating.md")
    for name in re.findall(r'^            "([a-z]+)": \("', text("reauth_proxy/frontend/endpoints.py"), re.MULTILINE):
        assert f"/_reauth/{name}`" in text("docs/frontends.md")


def blocks() -> list[tuple[str, str]]:
    """Return the shell blocks that are marked as runnable, each with its page."""
    marked = re.compile(r"<!-- run against the demo -->\n```sh\n(.*?)```", re.DOTALL)
    return [(page.name, block) for page in PAGES for block in marked.findall(page.read_text())]


def test_there_are_blocks_to_run() -> None:
    assert len(blocks()) >= 2


@pytest.mark.slow
@pytest.mark.usefixtures("demo_ports")
async def test_what_is_marked_as_runnable_runs(tmp_path: Path) -> None:
    async with program("demo", "--port", "0") as demo:
        out = await demo.says("Ctrl-C")
        proxy = re.findall(r"http://127\.0\.0\.1:\d+(?=/time)", out)[0]
        servers = re.findall(r"http://127\.0\.0\.1:\d+(?=/demo/revoke)", out)[0]
        control = re.findall(r"http://127\.0\.0\.1:\d+(?=/session)", out)[0]
        for name, block in blocks():
            script = block.replace("localhost:8080", proxy).replace("localhost:8490", servers)
            script = script.replace("localhost:8181", control)
            process = await asyncio.create_subprocess_exec(
                *("bash", "-euo", "pipefail", "-c", script),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=tmp_path,
            )
            async with asyncio.timeout(PATIENCE + 20):
                said = (await process.communicate())[0].decode()
            assert process.returncode == 0, (name, block, said)
            if "revoke" in block:
                assert "Reauth-Signal: logout;reason=refresh_denied" in said
                assert said.rstrip().endswith("}"), "and it is back"
