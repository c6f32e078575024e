"""A refresh token in a file that changes: noticed by itself, whole, once, and however the change comes about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from structlog.testing import capture_logs

from reauth_proxy.config.environment import FileSecret, Reading, read_secret
from reauth_proxy.daemon.secret_files import MountedSecret
from reauth_proxy.session.tokens import Secret
from tests.fakes.arrivals import until
from tests.fakes.authorization import FakeAuthorizationServer
from tests.fakes.client import fetch
from tests.fakes.daemon import daemon_process
from tests.fakes.files import write_secret
from tests.fakes.upstream import FakeUpstream

DENIED = "logout;reason=refresh_denied"


class Offers:
    """What was offered; what was offered before is no news."""

    def __init__(self) -> None:
        self.all: list[str] = []

    async def take(self, secret: Secret) -> bool:
        news = secret.reveal() not in self.all
        self.all.append(secret.reveal())
        return news


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[Offers]:
    secret = read_secret({"file": str(path)}, Reading({}))
    assert isinstance(secret, FileSecret)
    offers = Offers()
    mounted = MountedSecret("default", secret, offers.take, every=0.01)
    mounted.start()
    try:
        yield offers
    finally:
        await mounted.close()


async def test_a_change_is_offered_once_whole_and_without_its_line_end(tmp_path: Path) -> None:
    path = write_secret(tmp_path / "token", "first\n")
    async with watching(path) as offers:
        await until(lambda: offers.all == ["first"])
        write_secret(path, "second\n")
        await until(lambda: len(offers.all) == 2)
        write_secret(path, "third\n")
        await until(lambda: len(offers.all) == 3)
    assert offers.all == ["first", "second", "third"]


async def test_a_secret_is_mounted_anew_behind_a_symbolic_link(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        write_secret(tmp_path / version / "token", f"token-{version}")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "token").symlink_to("..data/token")
    async with watching(tmp_path / "token") as offers:
        await until(lambda: offers.all == ["token-1"])
        (tmp_path / "..tmp").symlink_to("2")
        (tmp_path / "..tmp").rename(tmp_path / "..data")  # as Kubernetes does
        await until(lambda: offers.all == ["token-1", "token-2"])


async def test_a_file_that_is_gone_empty_or_open_to_all_is_told_and_looked_at_again(tmp_path: Path) -> None:
    path = write_secret(tmp_path / "token", "first")
    with capture_logs() as told:
        async with watching(path) as offers:
            await until(lambda: offers.all == ["first"])
            path.unlink()
            for number, (content, mode) in enumerate([("", 0o600), ("open-CANARY", 0o644), ("two\nCANARY", 0o600)], 1):
                write_secret(path, content, mode)
                await until(lambda number=number: len(told) > number)
            write_secret(path, "second")
            await until(lambda: offers.all == ["first", "second"])
    assert [line["event"] for line in told[1:-1]] == ["credential.unreadable"] * 3
    whys = ["is empty", "others may read", "a line end or another control character"]
    assert all(why in line["problem"] for why, line in zip(whys, told[1:-1], strict=True))
    assert "CANARY" not in repr(told)


async def test_a_signed_out_session_comes_back_by_itself_when_the_mounted_token_changes(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    mounted = write_secret(tmp_path / "token", authorization.first)
    settings = {"credential": {"refresh_token": {"file": str(mounted)}}, "refresh": {"min_interval": 0}}
    async with daemon_process(tmp_path, authorization, upstream, **settings) as daemon:
        assert (await fetch(daemon.url)).status == 200
        authorization.revoke_access()
        authorization.revoke_refresh()
        assert (await fetch(daemon.url)).value("Reauth-Signal") == DENIED
        calls = authorization.count
        write_secret(mounted, authorization.login())
        await daemon.logged("credential.changed")
        assert (await fetch(daemon.url)).status == 200
        assert authorization.count == calls + 1
        # Afterwards it is as if it had been in the configuration from the beginning.
        await daemon.stop()
        await daemon.start()
        assert (await fetch(daemon.url)).status == 200
    assert authorization.count == calls + 1
    assert authorization.reuses == 0


async def test_a_session_that_lives_goes_on_with_a_changed_token_and_other_changes_are_none(
    authorization: FakeAuthorizationServer, upstream: FakeUpstream, tmp_path: Path
) -> None:
    mounted = write_secret(tmp_path / "token", authorization.first)
    settings = {"credential": {"refresh_token": {"file": str(mounted)}}, "refresh": {"min_interval": 0}}
    async with daemon_process(tmp_path, authorization, upstream, **settings) as daemon:
        assert (await fetch(daemon.url)).status == 200
        write_secret(mounted, authorization.first + "\n")  # written anew, and the same
        write_secret(tmp_path / "other", authorization.login())
        (tmp_path / "other").rename(mounted)
        await daemon.logged("credential.changed")
        await daemon.logged("session.resumed")
        assert (await fetch(daemon.url)).status == 200
    assert authorization.reuses == 0
    assert authorization.calls[-1].refresh_token.endswith("-2-1"), "the new session's first token"
    assert authorization.count == 2
