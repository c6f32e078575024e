"""The house keeps its floors: what may import what, what every module must have, and what no module may do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGE: Final = ROOT / "reauth_proxy"
MODULES: Final = sorted(PACKAGE.rglob("*.py"))

#: Ground floor first; a room imports only from rooms below it, or from itself.
FLOORS: Final = [
    "errors",
    "session",
    "http1",
    "guard",
    "issuers",
    "stores",
    "upstream",
    "clients",
    "forward",
    "frontend",
    "telemetry",
    "control",
    "config",
    "system",
    "daemon",
    "demo",
    "commands",
    "cli",
    "__main__",
]
#: No asyncio, no I/O, no logging, no clock: decisions as functions of plain data.
PURE: Final = [
    "session/tokens.py",
    "session/state.py",
    "session/schedule.py",
    "session/challenge.py",
    "session/book.py",
    "session/candidate.py",
    "session/holding.py",
    "session/known.py",
    "session/lineage.py",
    "session/progress.py",
    "session/records.py",
    "session/stats.py",
    "forward/patience.py",
    "config/fingerprint.py",
    "guard/hosts.py",
    "guard/origins.py",
    "guard/cors.py",
    "guard/tokens.py",
    "guard/paths.py",
    "guard/guard.py",
    "session/snapshot.py",
    "session/history.py",
    "issuers/content.py",
    "issuers/framing.py",
    "issuers/judged.py",
    "issuers/refusals.py",
    "issuers/reply.py",
    "issuers/jwt.py",
    "issuers/lifetimes.py",
    "issuers/pointer.py",
    "forward/capture.py",
    "forward/fields.py",
    "clients/pace.py",
    "http1/extent.py",
    "http1/framing.py",
    "http1/problems.py",
    "frontend/replies.py",
    "control/offered.py",
    "control/readiness.py",
    "guard/endpoints.py",
    "stores/redis_recovery.py",
    "telemetry/redact.py",
    "config/address.py",
    "config/exposure.py",
    "config/units.py",
]
IMPURE: Final = {"asyncio", "aiohttp", "structlog", "logging", "time", "socket", "os", "pathlib", "httptools", "random"}
#: Modules whose tests stand elsewhere, and where.
TESTED_ELSEWHERE: Final = {
    "__main__.py": "tests/contract/test_process.py starts the program by it",
    "daemon/credentials.py": "tests/contract/test_routes.py and test_reload.py",
    "daemon/forwarding.py": "tests/contract drives each setting through a real daemon",
    "daemon/server.py": "tests/contract/test_process.py",
    "forward/content.py": "tests/forward/test_forwarder.py",
    "forward/relay.py": "tests/forward/test_forwarder.py",
    "forward/request.py": "tests/forward/test_forwarder.py",
    "forward/login.py": "tests/contract/test_capture.py",
    "forward/own.py": "tests/contract/test_frontend.py",
    "forward/receiving.py": "tests/forward/test_forwarder.py",
    "telemetry/metrics.py": "tests/contract/test_metrics.py",
    "control/plane.py": "tests/contract/test_control.py",
    "config/control.py": "tests/config/test_model.py",
    "frontend/endpoints.py": "tests/contract/test_frontend.py",
    "forward/route.py": "tests/forward/test_forwarder.py",
    "forward/replay.py": "tests/forward/test_forwarder.py",
    "upstream/broken.py": "tests/upstream/test_connection.py",
    "upstream/exchange.py": "tests/forward/test_forwarder.py",
    "forward/upload.py": "tests/forward/test_forwarder.py",
    "http1/wire.py": "tests/forward/test_forwarder.py, byte by byte",
    "http1/sockets.py": "tests/upstream/test_connection.py and tests/clients/test_listener.py",
    "http1/extent.py": "tests/clients/test_listener.py and tests/raw",
    "clients/writing.py": "tests/forward/test_forwarder.py",
    "clients/connection.py": "tests/clients/test_listener.py",
    "clients/limits.py": "plain data; tests/clients/test_listener.py",
    "forward/plan.py": "plain data; tests/forward/test_forwarder.py",
    "system/process.py": "tests/contract/test_process.py",
    "upstream/dial.py": "tests/upstream/test_pool.py",
    "upstream/sending.py": "tests/upstream/test_connection.py",
    "demo/api.py": "tests/demo/test_demo.py",
    "demo/stage.py": "tests/demo/test_demo.py",
    "session/book.py": "tests/session/test_refresher.py",
    "session/calls.py": "tests/session/test_refresher.py",
    "session/candidate.py": "tests/session/test_lives.py",
    "session/asking.py": "tests/session/test_refresher.py",
    "session/chronicle.py": "tests/session/test_refresher.py",
    "session/known.py": "tests/session/test_lives.py",
    "session/mark.py": "tests/session/test_ledger.py and test_two_lives.py",
    "session/lineage.py": "tests/session/test_lives.py",
    "session/records.py": "tests/session/test_lives.py",
    "session/refresh.py": "tests/session/test_refresher.py",
    "session/requests.py": "tests/session/test_refresher.py",
    "session/stats.py": "tests/session/test_refresher.py",
    "forward/attempt.py": "tests/forward/test_forwarder.py",
    "session/renewal.py": "tests/session/test_refresher.py",
    "session/snapshot.py": "tests/session/test_refresher.py",
    "session/history.py": "tests/control/test_report.py",
    "session/view.py": "tests/session/test_refresher.py",
    "session/verdicts.py": "tests/session/test_refresher.py",
    "session/protocols.py": "types only",
    "issuers/transport.py": "tests/issuers against real sockets",
    "issuers/causes.py": "tests/issuers/test_transport.py",
    "issuers/proxied.py": "tests/issuers/test_places.py",
    "issuers/message.py": "tests/issuers/test_direct.py",
    "issuers/judged.py": "tests/issuers/test_reply.py",
    "issuers/refusals.py": "tests/issuers/test_reply.py",
    "issuers/receiving.py": "tests/issuers/test_faults.py against real sockets",
    "issuers/remarks.py": "tests/issuers/test_faults.py",
    "issuers/lifetimes.py": "tests/issuers/test_reply.py",
    "stores/inotify.py": "tests/stores/test_watch.py",
    "stores/redis_client.py": "tests/stores/test_redis.py",
    "stores/private.py": "tests/stores/test_file.py",
    "stores/atomic.py": "tests/stores/test_file.py",
    "stores/record.py": "tests/stores/test_file.py",
    "errors.py": "tests/http1/test_problems.py",
    "issuers/client_auth.py": "tests/issuers/test_oauth2.py",
    "http1/response.py": "tests/upstream/test_connection.py",
    "commands/asking.py": "tests/commands/test_status.py",
    "commands/check.py": "tests/test_cli.py and tests/commands/test_probe.py",
    "commands/keeping.py": "tests/commands/test_login.py and test_logout.py",
    "config/origin.py": "tests/config/test_load.py",
    "config/document.py": "tests/config/test_load.py",
    "config/explain.py": "tests/config/test_load.py",
    "config/problems.py": "tests/config/test_load.py",
    "config/schema.py": "tests/config/test_documentation.py",
    "config/kinds.py": "tests/config/test_model.py",
    "config/capture.py": "tests/config/test_model.py",
    "config/secrecy.py": "tests/config/test_model.py, tests/config/test_exposure.py",
    "config/credential.py": "tests/config/test_model.py",
    "config/fields.py": "tests/config/test_model.py",
}
LONGEST: Final = 350


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(module: str) -> str:
    return module.removeprefix("reauth_proxy.").split(".")[0]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "reauth_proxy")


def typing_only(tree: ast.Module) -> ast.Module:
    """Return the tree without what stands under `if TYPE_CHECKING`."""

    class Remove(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            checks = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            return None if checks else self.generic_visit(node)

    return Remove().visit(tree)  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_from_rooms_below_it(path: Path) -> None:
    own = room_of(name_of(path).removesuffix(".py").replace("/", "."))
    if own == "__init__":
        return
    floor = FLOORS.index(own)
    for name in imports(typing_only(ast.parse(path.read_text()))):
        if name.startswith("reauth_proxy."):
            room = room_of(name)
            if room in FLOORS:
                assert FLOORS.index(room) <= floor, f"{name_of(path)} imports {name}, which is on a floor above"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_nothing_that_does_anything(name: str) -> None:
    found = {module.split(".")[0] for module in imports(ast.parse((PACKAGE / name).read_text()))}
    assert not found & IMPURE


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_module_says_what_it_is_for_and_is_not_too_long(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    if tree.body:
        assert ast.get_docstring(tree), "what is this room for?"
    assert text.count("\n") <= LONGEST, "what does it want to become?"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_module_has_its_tests(path: Path) -> None:
    name = name_of(path)
    if path.name == "__init__.py" or name in TESTED_ELSEWHERE:
        return
    mirrored = ROOT / "tests" / path.relative_to(PACKAGE).with_name(f"test_{path.name}")
    assert mirrored.exists(), f"write {mirrored.relative_to(ROOT)}, or say in TESTED_ELSEWHERE where its tests are"


def test_the_exceptions_are_about_modules_that_there_are() -> None:
    assert not {name for name in (*TESTED_ELSEWHERE, *PURE) if not (PACKAGE / name).exists()}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_task_is_started_that_nobody_holds(path: Path) -> None:
    """The event loop keeps weak references only: a task whose result is thrown away may vanish."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func)
            assert not called.endswith(("create_task", "ensure_future")), f"line {node.lineno}: {called}"


#: What starts other programs, which would inherit an environment that may hold secrets.
STARTS: Final = {
    *("subprocess", "multiprocessing", "webbrowser", "pty", "os.system", "os.popen", "os.fork", "os.posix_spawn"),
    *("os.execv", "os.execve", "os.execvp", "os.execvpe", "os.spawnv", "os.spawnve", "os.startfile"),
    *("asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "ProcessPoolExecutor"),
}


#: Its child has an environment of its own, without secrets: tests/commands/test_browser.py.
STARTS_SOMETHING: Final = {"commands/browser.py"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_starts_another_program(path: Path) -> None:
    if name_of(path) in STARTS_SOMETHING:
        return
    tree = ast.parse(path.read_text())
    used = {*imports(tree)} | {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not used & STARTS


def ours() -> set[str]:
    """Return the names with an underscore in front that the package itself defines."""
    found: set[str] = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


#: Underscores in front that are documented: os._exit, and namedtuple's methods.
DOCUMENTED: Final = {"_exit", "_replace", "_asdict"}


def test_nothing_uses_a_private_name_of_a_library() -> None:
    allowed, used = ours() | DOCUMENTED, set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Attribute):
                names = [node.attr]
            elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("reauth_proxy"):
                names = [*(alias.name for alias in node.names), *(node.module or "").split(".")]
            elif isinstance(node, ast.Import):
                names = [part for alias in node.names for part in alias.name.split(".")]
            private = [name for name in names if name.startswith("_") and not name.startswith("__")]
            used |= {f"{name_of(path)}:{node.lineno}: {name}" for name in private if name not in allowed}  # type: ignore[attr-defined]
    assert not used


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_commands_print(path: Path) -> None:
    if path.name == "cli.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Call) and ast.unparse(node.func) == "print"), f"line {node.lineno}"
