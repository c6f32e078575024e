"""The commands, as processes and in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import reauth_proxy.demo
from reauth_proxy import cli
from reauth_proxy.errors import ConfigError, ReauthError
from reauth_proxy.system import hardening
from reauth_proxy.telemetry import logs
from tests.config.reading import LEAST
from tests.fakes.files import write_secret

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program in this process; returns exit status, standard output, standard error."""

    # What the daemon asks of the kernel and of Python cannot be taken back from this process.
    monkeypatch.setattr(hardening, "keep_memory_private", lambda: None)
    monkeypatch.setattr(logs, "take_tracebacks", lambda: None)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reauth-proxy", *arguments])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        captured = capsys.readouterr()
        assert isinstance(exited.value.code, int)
        return exited.value.code, captured.out, captured.err

    return run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return write_secret(tmp_path / "config.yaml", LEAST)


def test_without_arguments_it_shows_help_and_fails(run: Run) -> None:
    status, out, err = run()
    assert status == 2
    assert out == ""
    assert err.startswith("Usage: reauth-proxy")


def test_on_windows_it_says_at_once_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(sys, "platform", "win32")
        status, out, told = run("--version")
    assert (status, out) == (1, "")
    assert told == "reauth-proxy runs on Linux and macOS; on Windows, install and run it in WSL\n"


def test_help_names_every_command_and_shows_examples(run: Run) -> None:
    for flag in ("--help", "-h"):
        status, out, _ = run(flag)
        assert status == 0
        for text in (
            "check",
            "login",
            "logout",
            "demo",
            "schema",
            "init",
            "status",
            "--config FILE",
            "--version",
            "  reauth-proxy --config",
        ):
            assert text in out


@pytest.mark.parametrize("command", ["check", "demo", "init", "login", "logout", "schema", "status"])
def test_each_command_has_help_with_an_example(run: Run, command: str) -> None:
    status, out, _ = run(command, "--help")
    assert status == 0
    assert f"  reauth-proxy {command}" in out


def test_the_version(run: Run) -> None:
    assert run("--version") == (0, f"reauth-proxy {reauth_proxy.__version__}\n", "")


def test_check_sums_up_a_good_file(run: Run, config_file: Path) -> None:
    assert run("check", "--config", str(config_file)) == (
        0,
        (
            f"{config_file} is fine.\n"
            "  listen     localhost:8080\n"
            "  upstream   https://api.example.com\n"
            "  credential oauth2 at https://id.example.com/token as web (none); the refresh token is in the store\n"
            "  store      file\n"
        ),
        "",
    )


def test_check_sums_up_a_hand_made_api(run: Run, config_file: Path) -> None:
    config_file.write_text(
        "upstream: https://api.example.com\nstore: {path: s.json}\ncredential: {refresh_token: CANARY, token_endpoint: "
        "{type: json, url: 'https://a.example/r?key=CANARY', body: '{refresh_token}', response: {access_token: /a}}}"
    )
    status, out, _ = run("check", "-c", str(config_file))
    assert status == 0
    assert "  credential json, POST https://a.example/r?…; a refresh token is configured\n" in out
    assert f"  store      file {config_file.parent / 's.json'}\n" in out
    assert "CANARY" not in out


def test_check_tells_every_problem_on_standard_error(run: Run, config_file: Path) -> None:
    config_file.write_text(LEAST + "refresh: {ahead: soon}\nlog: {levl: info}\n")
    assert run("check", "-c", str(config_file)) == (
        2,
        "",
        (
            f'{config_file}:3: refresh.ahead: expected a duration such as 10s, got "soon"\n'
            f"{config_file}:4: log.levl: unknown key; did you mean `level`?\n"
        ),
    )


def test_check_tries_certificates_and_keys(run: Run, config_file: Path) -> None:
    write_secret(config_file.parent / "bad.pem", "CANARY")
    config_file.write_text(
        "upstream: https://api.example.com\ntls: {ca_file: bad.pem}\ncredential:\n  token_endpoint:\n"
        "    issuer: https://id.example.com\n    client_id: web\n    client_auth: private_key_jwt\n"
        "    private_key: {file: bad.pem}\n"
    )
    status, out, err = run("check", "-c", str(config_file))
    assert (status, out) == (2, "")
    ca_file, private_key = err.splitlines()
    assert ca_file.startswith(
        f"{config_file}: tls.ca_file: {config_file.parent / 'bad.pem'} holds no usable certificates"
    )
    assert private_key == (
        f"{config_file}: credential.token_endpoint: private_key is neither a PEM private key without a passphrase "
        "nor a private JWK"
    )


def test_check_takes_a_key_that_can_sign(run: Run, config_file: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(config_file.parent / "key.pem", key)
    text = (
        "upstream: https://api.example.com\ncredential:\n  token_endpoint:\n    issuer: https://id.example.com\n"
        "    client_id: web\n    client_auth: private_key_jwt\n    private_key: {file: key.pem}\n"
    )
    config_file.write_text(text)
    status, out, _ = run("check", "-c", str(config_file))
    assert status == 0
    assert "oauth2 at https://id.example.com as web (private_key_jwt)" in out
    config_file.write_text(text + "    private_key_alg: RS256\n")
    status, _, err = run("check", "-c", str(config_file))
    assert status == 2
    assert "credential.token_endpoint: private_key does not go with RS256" in err


def test_a_name_that_the_terminal_cannot_show_is_no_problem(config_file: Path) -> None:
    path = config_file.rename(config_file.with_name("ключ.yaml"))
    done = subprocess.run(
        [sys.executable, "-m", "reauth_proxy", "check", "-c", str(path)],
        capture_output=True,
        check=False,
        timeout=30,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    for arguments in (("check", "-c"), ("--config",)):
        assert run(*arguments, str(tmp_path / "nope")) == (
            2,
            "",
            f"{tmp_path / 'nope'}: cannot be read: no such file or directory\n",
        )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["chek"], "No such command 'chek'"),
        (["--confg", "x"], "--confg"),
        (["check"], "Missing option '-c' / '--config'"),
        (["-c", "x", "login"], "--config goes behind the command: reauth-proxy login --config FILE"),
        (["-c", "x", "check"], "--config goes behind the command: reauth-proxy check --config FILE"),
        (["-c", "x", "demo"], "`demo` takes no --config."),
        (["demo", "--port", "70000"], "Invalid value for '--port'"),
        (["schema", "x"], "unexpected extra argument"),
        (["-c"], "requires an argument"),
    ],
)
def test_wrong_usage_is_told(run: Run, arguments: list[str], told: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert told in err
    assert "Traceback" not in err


def test_it_runs_the_daemon_and_passes_its_status_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def daemon(config_file: Path) -> int:
        seen.append(config_file)
        return len(seen) - 1

    monkeypatch.setattr("reauth_proxy.daemon.server.run", daemon)
    assert run("--config", "a.yaml")[0] == 0
    assert run("-c", "b.yaml")[0] == 1
    assert seen == [Path("a.yaml"), Path("b.yaml")]


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ConfigError("c.yaml:1: one", "c.yaml:2: two"), 2, "c.yaml:1: one\nc.yaml:2: two\n"),
        (ReauthError("the store is broken"), 1, "reauth-proxy: the store is broken\n"),
        (KeyboardInterrupt(), 1, ""),
    ],
)
def test_what_ends_the_daemon_is_told_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, told: str
) -> None:
    def daemon(config_file: Path) -> int:
        raise error

    monkeypatch.setattr("reauth_proxy.daemon.server.run", daemon)
    ended, out, err = run("--config", "a.yaml")
    assert (ended, out, err.lstrip("\n")) == (status, "", told)


def test_it_runs_the_demo_and_passes_its_status_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int | None]] = []

    def demo(servers_only: bool, port: int | None) -> int:
        seen.append((servers_only, port))
        return 0

    monkeypatch.setattr(reauth_proxy.demo, "run", demo, raising=False)
    assert run("demo")[0] == 0
    assert run("demo", "--servers-only", "--port", "0")[0] == 0
    assert seen == [(False, None), (True, 0)]


def test_the_schema_is_json(run: Run) -> None:
    status, out, _ = run("schema")
    assert status == 0
    assert json.loads(out)["title"] == "reauth-proxy configuration"


def test_as_a_module_it_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reauth_proxy", "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == f"reauth-proxy {reauth_proxy.__version__}\n"


def test_a_reader_that_leaves_causes_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "reauth_proxy", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


@pytest.mark.process
def test_the_daemon_does_not_import_what_only_a_login_needs() -> None:
    code = "import sys; from reauth_proxy.daemon import server; assert not {'authlib', 'webbrowser'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr == ""


@pytest.mark.process
def test_help_and_check_do_not_import_what_only_the_daemon_needs() -> None:
    code = (
        "import sys; from reauth_proxy import cli; "
        "assert not {'aiohttp', 'pydantic', 'structlog'} & set(sys.modules), 'cli'; "
        "from reauth_proxy.config import load; "
        "assert not {'aiohttp', 'cryptography', 'joserfc', 'asyncio'} & set(sys.modules), 'config'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_completes_in_a_shell(shell: str) -> None:
    def asked(instruction: str, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "reauth_proxy"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "_REAUTH_PROXY_COMPLETE": f"{shell}_{instruction}", **environ},
        )
        return done.stdout

    assert "_REAUTH_PROXY_COMPLETE" in asked("source")
    completed = asked("complete", COMP_WORDS="reauth-proxy st", COMP_CWORD="1" if shell != "fish" else "st")
    assert "status" in completed
