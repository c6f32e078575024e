"""Builds everything from a Config, starts it, reloads it, and drains it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from reauth_proxy import __version__
from reauth_proxy.clients.listener import Listener
from reauth_proxy.config.address import Listen
from reauth_proxy.config.load import load
from reauth_proxy.config.model import Config
from reauth_proxy.control.plane import ControlPlane
from reauth_proxy.control.report import Overview
from reauth_proxy.daemon import forwarding, sessions
from reauth_proxy.daemon.credentials import Credentials
from reauth_proxy.daemon.listening import Door, StartError, bind
from reauth_proxy.daemon.ways_in import ways_in
from reauth_proxy.errors import ConfigError, ReauthError
from reauth_proxy.forward.forwarder import Forwarder
from reauth_proxy.forward.plan import Plan
from reauth_proxy.forward.tunnel import Tunnels
from reauth_proxy.frontend.endpoints import Endpoints
from reauth_proxy.session.ending import end
from reauth_proxy.session.refresher import Session
from reauth_proxy.session.state import State
from reauth_proxy.system import hardening
from reauth_proxy.system.process import (
    end_hard_unless_closed,
    file_limit,
    make_room_for_files,
    raise_file_limit,
    spare_the_collector,
)
from reauth_proxy.telemetry import logs
from reauth_proxy.telemetry.tally import Tally

log = structlog.get_logger(__name__)


class Daemon:
    """The proxy: one listener, its routes, and the sessions of their credentials.

    Args:
        config: what to build; :meth:`start` listens.

    Attributes:
        credentials: their sessions.
        url: where it listens, once started.
        draining: it is about to end, and should get no new requests.
        closing: called when what is left is only to be closed.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.draining = False
        self.closing: Callable[[], None] = lambda: None
        self.credentials: Credentials
        self._door: Door | None = None
        self._control_door: Door | None = None

    @property
    def session(self) -> Session:
        """The session of the first credential."""
        return next(iter(self.credentials.sessions.values()))

    @property
    def url(self) -> str:
        return "" if self._door is None else self._door.url

    @property
    def control_url(self) -> str | None:
        """Where the control plane listens; None where it does not."""
        return None if self._control_door is None else self._control_door.url

    async def start(self) -> None:
        """Take the addresses, load the sessions, and accept connections.

        In this order: a daemon that cannot listen has spent no refresh token.

        Raises:
            ConfigError: a file that the configuration names cannot be used.
            StoreError: the store could not keep a rotated refresh token.
            StartError: the address cannot be listened on.
        """
        config = self.config
        tls = sessions.tls_context(config.tls)
        self.credentials = Credentials(config, tls)
        plan = self._plan(config, tls)
        self._tunnels = Tunnels(config.websocket.idle_timeout, config.websocket.on_logout)
        self._access = logs.access_log()
        self._endpoints = Endpoints(self.credentials)
        self._tally = Tally()
        self._started = time.time()
        self._forwarder = Forwarder(
            plan,
            tunnels=self._tunnels,
            access=self._access,
            request_id=logs.request_id,
            own=self._endpoints,
            observer=self._tally,
        )
        self._front = Listener(self._forwarder.handle, plan.limits)
        self._control = ControlPlane(self.credentials, forwarding.control_guard(config), self._overview)
        try:
            self._door = await bind(config.listen)
            if config.control.listen is not None:
                self._control_door = await bind(config.control.listen, key="control.listen")
            await self.credentials.start()
            await self.credentials.watch(config)
            self._control_protocols = await self._control.protocols()
            if self._control_door is not None:
                await self._control_door.open(self._control_protocols)
            await self._door.open(self._front)
        except BaseException:
            await self._release()
            raise
        upstream = ", ".join(dict.fromkeys(str(route.upstream) for route in config.each_route))
        log.info("server.started", listen=self.url, control=self.control_url, upstream=upstream, version=__version__)

    def say_how_to_sign_in(self, config_file: Path) -> None:
        """Tell in the log how to sign in, for each credential that nobody is signed in to."""
        for name, session in self.credentials.sessions.items():
            if session.state in (State.EMPTY, State.SIGNED_OUT):
                mend = ways_in(self.config, name, config_file, self.url)
                log.warning("session.missing", credential=name, mend=mend)

    def _overview(self) -> Overview:
        """Return what the control plane looks at."""
        pools = forwarding.pools(self.config, self._forwarder.plan.routes)
        return Overview(
            self._started,
            self.url,
            self.draining,
            forwarding.route_lines(self.config),
            self.credentials.sessions,
            pools,
            self._tally,
            self._front.count,
        )

    def _plan(self, config: Config, tls: ssl.SSLContext) -> Plan:
        """Return what the forwarder goes by, with as many connections as the system allows files."""
        lowered = forwarding.affordable(config, file_limit())
        make_room_for_files(forwarding.files(lowered))
        fewer = forwarding.lowered_limits(config, lowered)
        if fewer:
            # The defaults are as much as anybody needs; who wrote a number down wants it.
            say = log.warning if fewer.keys() & config.limits.model_fields_set else log.debug
            names = " and ".join(f"`limits.{name}`" for name in fewer)
            problem = f"the system allows {file_limit()} open files; raise it (ulimit -n), or lower {names}"
            say("limits.lowered", **fewer, problem=problem)
        return forwarding.plan(lowered, self.credentials.sessions, tls)

    async def reload(self, config: Config) -> None:
        """Take over what changed, files that it names included; connections and requests under way stay as they are.

        What cannot change is named in the log, and takes effect at the next start.

        Raises:
            ConfigError, StartError, StoreError: it cannot be used, and nothing has changed.
        """
        old = self.config
        tls = await asyncio.to_thread(sessions.tls_context, config.tls)
        restart = sessions.needs_restart(old, config)
        config = config.model_copy(update={name: getattr(old, name) for name in restart})
        async with contextlib.AsyncExitStack() as undo:
            door, control = self._door, self._control_door
            if config.control.listen is None:
                control = None
            elif config.control.listen != old.control.listen:
                control = await self._bind_anew(config.control.listen, "control.listen")
                undo.push_async_callback(control.close)
            if config.listen != old.listen:
                door = await self._bind_anew(config.listen, "listen")
                undo.push_async_callback(door.close)
            change = await self.credentials.prepare(config, tls)
            undo.pop_all()
        # From here on nothing can fail.
        self.config = config
        await self._move(door, control)
        self._control.guard = forwarding.control_guard(config)
        logs.configure(config.log.level, config.log.format)
        self.credentials.take(change)
        plan = self._plan(config, tls)
        self._access.close()
        self._access = logs.access_log()
        self._forwarder.follow(plan, self._access)
        self._tally.keep_only({route.name for route in plan.routes})
        self._front.limit(plan.limits)
        self._tunnels.adjust(config.websocket.idle_timeout, config.websocket.on_logout)
        await self.credentials.leave(change)
        resumed = await self.credentials.offer(old, config)
        await self.credentials.watch(config)
        changed = [name for name in type(config).model_fields if getattr(old, name) != getattr(config, name)]
        log.info("config.reloaded", changed=changed, new_refresh_token=resumed, needs_restart=restart)

    async def _bind_anew(self, address: Listen, key: str) -> Door:
        """Take another address, beside those that are in use. Raises StartError."""
        try:
            return await bind(address, key=key)
        except StartError as error:
            if any(door is not None and door.overlaps(address) for door in (self._door, self._control_door)):
                raise StartError(
                    f"cannot listen on {address} (`{key}`): this daemon has that address already; restart it"
                ) from error
            raise

    async def _move(self, door: Door | None, control: Door | None) -> None:
        """Listen there from now on; connections that there are stay. Nothing is left open where it is cancelled."""
        before = (self._door, self._control_door)
        self._door, self._control_door = door, control
        try:
            if door is not None and door not in before:
                await door.open(self._front)
            if control is not None and control not in before:
                await control.open(self._control_protocols)
        finally:
            left = [one for one in before if one is not None and one not in (door, control)]
            await asyncio.gather(*(one.close() for one in left))

    async def stop(self) -> None:
        """Accept nobody new, let requests under way finish, and end everything.

        Requests and tunnels get `drain_timeout` seconds. A refresh in flight is awaited and stored.
        """
        self.draining = True
        if self._door is not None:
            log.info("server.draining", connections=self._front.count)
            self._forwarder.drain()
            self._endpoints.drain()
            await self._door.close()
            try:
                async with asyncio.timeout(self.config.drain_timeout):
                    await self._front.drained()
            except TimeoutError:
                self._tunnels.end_all()
        await self._release()
        log.info("server.drained")

    async def _release(self) -> None:
        self.closing()
        for door in (self._door, self._control_door):
            if door is not None:
                await door.close()
        await self._control.close()
        await self._endpoints.close()
        await self.credentials.close()
        await self._front.shutdown(1.0)
        self._tunnels.close()
        self._forwarder.close()
        await self.credentials.finish()
        self._access.close()

    def __repr__(self) -> str:
        return f"<Daemon {self.url or 'not started'} {getattr(self, 'credentials', None)!r}>"


async def _reload(daemon: Daemon, config_file: Path) -> None:
    """Read the file again; a bad one changes nothing and says why."""
    try:
        await daemon.reload(await asyncio.to_thread(load, config_file))
    except ConfigError as error:
        log.error("config.rejected", problems=list(error.problems))
    except ReauthError as error:
        log.error("config.rejected", problems=[str(error)])


def _end(stop: asyncio.Event) -> None:
    """Begin to end; at the second signal, end at once."""
    if stop.is_set():
        os._exit(1)
    stop.set()


async def _serve(daemon: Daemon, config_file: Path) -> None:
    loop = asyncio.get_running_loop()
    stop, hangup = asyncio.Event(), asyncio.Event()
    # Before anything else: whoever sees us listen may send a signal at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _end, stop)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    daemon.closing = partial(end_hard_unless_closed, logs.finish)
    await daemon.start()
    daemon.say_how_to_sign_in(config_file)
    spare_the_collector()
    ending = asyncio.create_task(stop.wait(), name="stop")
    while not stop.is_set():
        waiting = asyncio.create_task(hangup.wait(), name="hangup")
        await asyncio.wait([ending, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if hangup.is_set() and not stop.is_set():
            hangup.clear()
            reloading = asyncio.create_task(_reload(daemon, config_file), name="reload")
            await asyncio.wait([ending, reloading], return_when=asyncio.FIRST_COMPLETED)
            await end([reloading])  # a file that cannot be read now must not keep us from ending
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
    hardening.keep_memory_private()  # before there is a secret in it
    logs.configure("info", "auto")
    logs.take_tracebacks()
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
        finally:
            logs.finish()
    return 0
