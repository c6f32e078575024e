"""The examples can be used as they are, as far as that can be tried here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from reauth_proxy.config.load import parse
from reauth_proxy.config.model import Config

ROOT: Final = Path(__file__).parent.parent
EXAMPLES: Final = ROOT / "examples"
PAGES: Final = [page for page in sorted(EXAMPLES.glob("**/*.md")) if "node_modules" not in page.parts]


def config(text: str) -> Config:
    """Read a configuration whose mounted secrets stand in for themselves."""
    text = re.sub(r'\{file: ("?)[^}]*\1\}', "{env: SECRET}", text)
    return parse(text, "config.yaml", {"SECRET": "some-secret-of-32-characters-0123"}, ROOT)


def test_the_index_has_every_example() -> None:
    index = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        assert path.name == "README.md" or f"]({path.name})" in index


def test_the_sidecar_of_compose_shares_the_frontend_s_network_and_says_so() -> None:
    compose = yaml.safe_load((EXAMPLES / "compose" / "compose.yaml").read_text())
    sidecar = compose["services"]["reauth-proxy"]
    assert sidecar["network_mode"] == "service:frontend"
    assert (EXAMPLES / "compose" / sidecar["build"]).resolve() == ROOT
    read = config((EXAMPLES / "compose" / "config.yaml").read_text())
    assert not read.listen.remote
    assert f"proxy_pass http://{read.listen};" in (EXAMPLES / "compose" / "nginx.conf").read_text()
    assert read.secrets.allow_readable
    for volume in sidecar["volumes"]:
        source, target, *_ = volume.split(":")
        assert source in compose["volumes"] or (EXAMPLES / "compose" / source).exists(), volume
        assert target in (ROOT / "Dockerfile").read_text()


def test_the_pod_s_sidecar_is_native_and_its_probes_get_in() -> None:
    objects = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()))
    read = config(objects[0]["data"]["config.yaml"])
    assert read.access.client_token is not None
    assert read.control.listen is not None
    pod: dict[str, Any] = objects[1]["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["ports"][0]["containerPort"] == read.control.listen.port
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = sidecar[probe]["httpGet"]
        assert get["path"] in ("/healthz", "/readyz")
        assert get["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    mounted = {mount["name"] for mount in sidecar["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert pod["terminationGracePeriodSeconds"] > read.drain_timeout


def test_the_unit_is_what_systemd_reads() -> None:
    unit = EXAMPLES / "reauth-proxy.service"
    text = unit.read_text()
    assert "ExecReload=/bin/kill -HUP $MAINPID" in text
    sections = re.findall(r"^\[(\w+)\]$", text, re.MULTILINE)
    assert sections == ["Unit", "Service", "Install"]
    assert all(re.fullmatch(r"(#.*|\[\w+\]|\w+=.*|)", line) for line in text.splitlines())
    if shutil.which("systemd-analyze") is not None:
        said = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False).stderr
        assert "Unknown" not in said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_configurations_in_them_are_read_and_links_lead_somewhere(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        config(block)
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_app_s_readme_shows_what_is_in_its_source() -> None:
    readme = (EXAMPLES / "rtk-query" / "README.md").read_text()
    shown = readme[readme.index("## What is left") :]
    source = "".join((EXAMPLES / "rtk-query" / "src" / name).read_text() for name in ("api.ts", "store.ts"))
    for block in re.findall(r"```ts\n(.*?)```", shown, re.DOTALL):
        for line in filter(None, block.splitlines()):
            assert line in source, line


def test_the_app_has_no_token_code() -> None:
    for path in (EXAMPLES / "rtk-query" / "src").iterdir():
        code = re.sub(r"//.*", "", path.read_text())
        assert not re.search(r"token|bearer|authorization|localStorage", code, re.IGNORECASE), path.name


def test_no_lock_file_names_where_packages_come_from() -> None:
    text = (EXAMPLES / "rtk-query" / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert text.count('"integrity"') > 20
