"""Builds everything from a Config, starts it, reloads it, and drains it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path
from typing import Final

import structlog

from reauth_proxy import __version__, assemble
from reauth_proxy.config.load import load
from reauth_proxy.config.model import Config
from reauth_proxy.errors import ConfigError, ReauthError
from reauth_proxy.forward.fields import RequestRules, ResponseRules
from reauth_proxy.forward.forwarder import Forwarder
from reauth_proxy.forward.listener import FrontServer
from reauth_proxy.session.refresher import Session
from reauth_proxy.telemetry import logs

log = structlog.get_logger(__name__)

#: Connections that wait to be accepted: room for a burst.
BACKLOG: Final = 1024
#: Seconds that a client's idle connection is kept.
IDLE_TIMEOUT: Final = 75.0


class StartError(ReauthError):
    """The daemon could not start; the text says why and how to mend it."""


class Daemon:
    """The proxy: one listener, one route, one session.

    Args:
        config: what to build; :meth:`start` listens.

    Attributes:
        session: the credential's session.
        url: where it listens, once started.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.url = ""
        self.session: Session
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Load the session, and listen.

        Raises:
            ConfigError: a file that the configuration names cannot be used.
            StoreError: the store could not keep a rotated refresh token.
            StartError: the address cannot be listened on.
        """
        config = self.config
        tls = assemble.tls_context(config.tls)
        self._endpoint = assemble.token_endpoint(config, tls)
        self._store = assemble.store(config)
        self.session = Session(
            "default",
            self._endpoint,
            self._store,
            assemble.refresh_policy(config),
            configured=config.credential.refresh_token,
        )
        self._route = assemble.route(config, self.session, tls)
        self._access = logs.access_log()
        self._forwarder = Forwarder(
            self._route,
            request_rules=RequestRules(assemble.field_changes(config.headers.request)),
            response_rules=ResponseRules(assemble.field_changes(config.headers.response)),
            keep=config.replay.memory,
            access=self._access,
            request_id=logs.request_id,
        )
        self._front = FrontServer(self._forwarder.handle, keepalive_timeout=IDLE_TIMEOUT)
        try:
            await self.session.start()
            await self._listen()
        except BaseException:
            await self._release()
            raise
        log.info("server.started", listen=self.url, upstream=str(config.upstream), version=__version__)

    async def _listen(self) -> None:
        listen = self.config.listen
        loop = asyncio.get_running_loop()
        try:
            if listen.path is not None:
                mask = os.umask(0o177)  # mode 0600 from the first moment
                try:
                    self._server = await loop.create_unix_server(self._front, listen.path, backlog=BACKLOG)
                finally:
                    os.umask(mask)
                self.url = f"unix:{listen.path}"
                return
            self._server = await loop.create_server(self._front, listen.host, listen.port, backlog=BACKLOG)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StartError(f"cannot listen on {listen}: {why}; set `listen` to an address that is free") from error
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def reload(self, config: Config) -> None:
        """Take over what can change while running: the refresh token and the log's level.

        The rest of a changed file is named in the log, and takes effect at the next start.
        """
        old, self.config = self.config, config
        logs.configure(config.log.level, config.log.format)
        resumed = False
        token = config.credential.refresh_token
        if token is not None and token != old.credential.refresh_token:
            resumed = await self.session.offer(token, configured=True)
        restart = [
            name
            for name in type(config).model_fields
            if name not in ("log", "credential") and getattr(old, name) != getattr(config, name)
        ]
        if old.credential.token_endpoint != config.credential.token_endpoint:
            restart.append("credential.token_endpoint")
        log.info("config.reloaded", new_refresh_token=resumed, needs_restart=restart)

    async def stop(self) -> None:
        """Stop listening, let requests under way finish, and end everything.

        Requests get `drain_timeout` seconds. A refresh in flight is awaited and stored.
        """
        if self._server is not None:
            self._server.close()
            self._front.close_idle()
            await self._forwarder.drained(self.config.drain_timeout)
        await self._release()
        log.info("server.drained")

    async def _release(self) -> None:
        await self.session.close()
        await self._front.shutdown(1.0)
        self._route.pool.close()
        await self._endpoint.close()
        await self._store.close()
        self._access.close()
        if self.config.listen.path is not None and self._server is not None:
            await asyncio.to_thread(Path(self.config.listen.path).unlink, missing_ok=True)

    def __repr__(self) -> str:
        return f"<Daemon {self.url or 'not started'} {getattr(self, 'session', None)!r}>"


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: each client and each upstream connection is one."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def spare_the_collector() -> None:
    """Tell the garbage collector that what start-up made stays for ever, and to look less often.

    A request makes no cycles. With the default thresholds, a full collection over 10,000 parked requests stops the loop
    for a third of a second; see the storm in bench/.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _reload(daemon: Daemon, config_file: Path) -> None:
    """Read the file again; a bad one changes nothing and says why."""
    try:
        config = await asyncio.to_thread(load, config_file)
    except ConfigError as error:
        log.error("config.rejected", problems=list(error.problems))
        return
    await daemon.reload(config)


async def _serve(daemon: Daemon, config_file: Path) -> None:
    loop = asyncio.get_running_loop()
    stop, hangup = asyncio.Event(), asyncio.Event()
    # Before anything else: whoever sees us listen may send a signal at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    await daemon.start()
    spare_the_collector()
    ending = asyncio.create_task(stop.wait(), name="stop")
    while not stop.is_set():
        reloading = asyncio.create_task(hangup.wait(), name="hangup")
        await asyncio.wait([ending, reloading], return_when=asyncio.FIRST_COMPLETED)
        reloading.cancel()
        if hangup.is_set():
            hangup.clear()
            await _reload(daemon, config_file)
    # A second signal ends at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, os._exit, 1)
    await daemon.stop()


def runner() -> asyncio.Runner:
    """Return a Runner on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def run(config_file: Path) -> int:
    """Run the daemon until SIGTERM or SIGINT; return the exit status.

    Raises:
        ConfigError: the file cannot be used.
    """
    config = load(config_file)
    logs.configure(config.log.level, config.log.format)
    raise_file_limit()
    with runner() as loop:
        try:
            loop.run(_serve(Daemon(config), config_file))
        except ConfigError:
            raise
        except ReauthError as error:
            log.error("server.failed", problem=str(error))
            return 1
    return 0
