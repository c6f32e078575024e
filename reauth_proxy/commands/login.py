"""``reauth-proxy login``: gets a refresh token from a person, and puts it into the store."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

import click

from reauth_proxy.commands import keeping
from reauth_proxy.commands.browser import open_page
from reauth_proxy.commands.keeping import Brought
from reauth_proxy.config.credential import Credential
from reauth_proxy.config.load import load
from reauth_proxy.config.model import Config
from reauth_proxy.daemon import sessions
from reauth_proxy.errors import ConfigError, LoginError, ReauthError
from reauth_proxy.issuers import authorization_code, device
from reauth_proxy.issuers.authorization_code import Refused
from reauth_proxy.issuers.discovery import Endpoints
from reauth_proxy.issuers.loopback import listening
from reauth_proxy.issuers.oauth2 import OAuth2Endpoint
from reauth_proxy.issuers.reply import LONGEST_TOKEN
from reauth_proxy.session.tokens import STAND_IN, Denied, Secret, TokenReply, Unavailable
from reauth_proxy.system.hardening import keep_memory_private

Way = Literal["browser", "device", "stdin"]
Keep = Callable[[Brought], Awaitable[None]]

#: Seconds that a call to the token endpoint may take.
_TIMEOUT: Final = 60.0
_NOTHING_TO_KEEP: Final = (
    "the authorization server issued no refresh token, and without one there is nothing to keep. With OpenID Connect,"
    " ask for it: `scope: openid offline_access` and `authorization_params: {prompt: consent}`;"
    " with Google, `authorization_params: {access_type: offline, prompt: consent}`"
)


def run(config_file: Path, name: str, way: Way, *, browser: bool, timeout: float) -> int:
    """Sign in, and return the exit status.

    Args:
        name: of the credential.
        browser: try to open one; else only say the address.
        timeout: seconds that the person may take.

    Raises:
        ConfigError: the file cannot be used, or does not go with the way.
        LoginError, StoreError: it did not work; what was in the store is there still.
    """
    keep_memory_private()
    config = load(config_file)
    credential = keeping.chosen(config, name)
    way_for(credential, way)
    given = read_token() if way == "stdin" else None
    try:
        asyncio.run(_login(config, name, credential, way, given, browser=browser, timeout=timeout))
    except KeyboardInterrupt:
        click.echo("\nStopped.", err=True)
        return 1
    click.echo("Signed in. A daemon that runs with this store goes on with the new session.")
    return 0


def way_for(credential: Credential, way: Way) -> None:
    """Raise ConfigError where a credential cannot be signed in that way."""
    own = credential.grant == "client_credentials"
    if own and way != "browser":
        raise ConfigError("`grant: client_credentials` asks for itself; run `reauth-proxy login` without options")
    if credential.token_endpoint.type == "json" and way != "stdin":
        raise ConfigError(
            "a token endpoint of `type: json` has no page to log in at; give a refresh token to"
            " `reauth-proxy login --stdin`, or let `capture` take it from the API's own login"
        )


def read_token() -> Secret:
    """Read a refresh token from standard input; from a terminal without showing it.

    Raises:
        LoginError: there is none.
    """
    if sys.stdin.isatty():
        text = getpass.getpass("Refresh token (it is not shown): ")
    else:
        data = sys.stdin.buffer.read(LONGEST_TOKEN + 2)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise LoginError("standard input is not text in UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise LoginError("standard input holds no refresh token")
    if len(text) > LONGEST_TOKEN or not text.isprintable():
        raise LoginError("standard input is not one refresh token on one line")
    return Secret(text)


async def _login(
    config: Config, name: str, credential: Credential, way: Way, given: Secret | None, *, browser: bool, timeout: float
) -> None:
    endpoint = sessions.token_endpoint(config, name, sessions.tls_context(config.tls))
    store = keeping.opened(config, name, _warn)

    async def keep(brought: Brought) -> None:
        await keeping.change(store, lambda present: brought.record(credential, present), _warn)

    try:
        await store.check()  # before anybody takes the trouble
        if given is not None:
            await keep(Brought(given))
        else:
            assert isinstance(endpoint, OAuth2Endpoint)
            if credential.grant == "client_credentials":
                await keep(_brought(await _bounded(endpoint.refresh(STAND_IN, None)), STAND_IN))
            elif way == "device":
                await _by_device(endpoint, keep, timeout)
            else:
                assert credential.token_endpoint.type == "oauth2"
                port = credential.token_endpoint.redirect_port
                await _by_browser(endpoint, keep, port, timeout, browser=browser)
    finally:
        await endpoint.close()
        await store.close()


async def _by_browser(endpoint: OAuth2Endpoint, keep: Keep, port: int, timeout: float, *, browser: bool) -> None:
    endpoints = await _endpoints(endpoint)
    if endpoints.authorization is None:
        raise ConfigError(
            "credential.token_endpoint: `authorization_url` is needed for a login by browser, or an `issuer` whose"
            " metadata name it; or use --device or --stdin"
        )
    async with listening(port) as loopback:
        attempt = authorization_code.begin(endpoints, endpoint.client.settings, loopback.redirect_uri)
        click.echo(f"Sign in with your browser at\n\n  {attempt.url}\n\nWaiting for it to come back …")
        opening = asyncio.create_task(_open(attempt.url), name="open browser") if browser else None
        try:
            async with asyncio.timeout(timeout):
                answer = await loopback.answer(attempt)
        except TimeoutError:
            raise LoginError(f"nobody signed in within {timeout:g} s; run it again, or try --device") from None
        finally:
            if opening is not None:
                opening.cancel()
                await asyncio.wait([opening])
        try:
            if isinstance(answer, Refused):
                raise LoginError(f"the authorization server did not sign you in: {answer}")
            reply = await _bounded(authorization_code.exchange(endpoint, attempt, answer))
            await keep(_brought(reply))
        except ReauthError as error:
            await loopback.tell("Not signed in", str(error))
            raise
        await loopback.tell("Signed in", "You can close this window and go back to the terminal.")


async def _by_device(endpoint: OAuth2Endpoint, keep: Keep, timeout: float) -> None:
    endpoints = await _endpoints(endpoint)
    if endpoints.device_authorization is None:
        raise ConfigError(
            "credential.token_endpoint: `device_authorization_url` is needed for --device, or an `issuer` whose"
            " metadata name it"
        )
    code = await device.start(endpoint, endpoints.device_authorization)
    if isinstance(code, Unavailable):
        raise LoginError(f"there is no code to be had: {code.cause}")
    click.echo(f"On any device, open\n\n  {code.uri}\n\nand enter the code\n\n  {code.user_code}\n")
    if code.complete_uri is not None:
        click.echo(f"or open {code.complete_uri}\nand compare the code.\n")
    click.echo("Waiting …")
    try:
        async with asyncio.timeout(timeout):
            issued = await device.wait(endpoint, code)
    except TimeoutError:
        raise LoginError(f"nobody entered the code within {timeout:g} s; run it again") from None
    await keep(_brought(issued))


async def _open(url: str) -> None:
    if not await open_page(url):
        _warn("No browser could be started here; open the address yourself, or use --device.")


async def _endpoints(endpoint: OAuth2Endpoint) -> Endpoints:
    try:
        async with asyncio.timeout(_TIMEOUT):
            found = await endpoint.client.endpoints()
    except TimeoutError:
        raise LoginError(f"discovery: no answer within {_TIMEOUT:g} s") from None
    if isinstance(found, Unavailable):
        raise LoginError(found.cause)
    return found


async def _bounded(call: Awaitable[TokenReply]) -> TokenReply:
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await call
    except TimeoutError:
        return Unavailable(f"no answer within {_TIMEOUT:g} s")


def _brought(reply: TokenReply, refresh_token: Secret | None = None) -> Brought:
    """Return what there is to keep. Raises LoginError."""
    if isinstance(reply, Denied):
        raise LoginError(f"the token endpoint refused the login ({reply.error})")
    if isinstance(reply, Unavailable):
        raise LoginError(reply.cause)
    refresh_token = refresh_token or reply.refresh_token
    if refresh_token is None:
        raise LoginError(_NOTHING_TO_KEEP)
    return Brought(refresh_token, reply.access_token, reply.lifetime)


def _warn(text: str) -> None:
    click.echo(text, err=True)
