"""The same authorization server with ways to sign in: /authorize, /device, client_credentials, and /revoke."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlencode

from aiohttp import web

from tests.fakes.authorization import CANARY, FakeAuthorizationServer, Family

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class LoginServer(FakeAuthorizationServer):
    """Whoever comes to /authorize is signed in at once; a device's code is good once :meth:`enter` was called.

    Attributes:
        denies: what /authorize answers instead of a code.
        offline: issue refresh tokens to those who sign in.
        says_iss: name the issuer in redirects (RFC 9207).
        script: what the token endpoint says about a device's code before anything else, such as slow_down.
        interval, code_lifetime: of devices' codes, in seconds.
        revoked: (token, hint) of each revocation that was done.
        secret: what the client has to prove with client_secret_basic; None: nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.denies: dict[str, str] | None = None
        self.offline = True
        self.says_iss = True
        self.script: list[str] = []
        self.interval = 1
        self.code_lifetime = 60
        self.entered = False
        self.revoked: list[tuple[str, str]] = []
        self.revocation_status = 200
        self.secret: str | None = None
        self.requests: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._issued_codes = 0

    @property
    def issuer(self) -> str:
        return self._origin

    def paths(self) -> list[str]:
        """Return the path of each call."""
        return [call.path for call in self.calls]

    def enter(self) -> None:
        """Somebody enters the device's code."""
        self.entered = True

    def _other(self, request: web.BaseRequest, form: dict[str, str]) -> web.Response:
        if request.path == "/.well-known/oauth-authorization-server":
            return web.json_response(self._metadata())
        if request.path == "/authorize":
            return self._authorize({name: values[0] for name, values in parse_qs(request.query_string).items()})
        if request.path == "/device":
            return self._device(form)
        if request.path == "/revoke":
            return self._revoke(form)
        return web.Response(status=404)

    def _metadata(self) -> dict[str, object]:
        return {
            "issuer": self.issuer,
            "token_endpoint": self.url,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "device_authorization_endpoint": f"{self.issuer}/device",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "authorization_response_iss_parameter_supported": self.says_iss,
        }

    def _authorize(self, asked: dict[str, str]) -> web.Response:
        self.requests.append(asked)
        assert asked["code_challenge_method"] == "S256"
        answer = {"state": asked["state"]}
        if self.says_iss:
            answer["iss"] = self.issuer
        if self.denies is not None:
            answer |= self.denies
        else:
            self._issued_codes += 1
            answer["code"] = f"code-{CANARY}-{self._issued_codes}"
            self._codes[answer["code"]] = asked
        return web.Response(status=302, headers={"Location": f"{asked['redirect_uri']}?{urlencode(answer)}"})

    def _device(self, form: dict[str, str]) -> web.Response:
        self.requests.append(form)
        code = f"device-{CANARY}"
        self._codes[code] = form
        return web.json_response(
            {
                "device_code": code,
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.issuer}/enter",
                "verification_uri_complete": f"{self.issuer}/enter?user_code=WDJB-MJHT",
                "expires_in": self.code_lifetime,
                "interval": self.interval,
            }
        )

    def _revoke(self, form: dict[str, str]) -> web.Response:
        if self.revocation_status != 200:
            return web.json_response({"error": "server_error"}, status=self.revocation_status)
        token = form["token"]
        self.revoked.append((token, form["token_type_hint"]))
        if family := self._families.get(token):
            family.revoked = True
        self._access.pop(token, None)
        return web.Response()

    def _oauth(self, form: dict[str, str]) -> web.Response:
        if self.secret is not None:
            given = base64.b64encode(f"web:{self.secret}".encode()).decode()
            if self.calls[-1].headers.get("Authorization") != f"Basic {given}":
                return web.json_response({"error": "invalid_client"}, status=401)
        match form.get("grant_type"):
            case "authorization_code":
                return self._redeem(form)
            case "client_credentials":
                return self._tokens((self._access_token(), None))
            case kind if kind == DEVICE_GRANT:
                return self._poll(form)
        return super()._oauth(form)

    def _redeem(self, form: dict[str, str]) -> web.Response:
        asked = self._codes.pop(form["code"], None)
        if asked is None or asked["redirect_uri"] != form["redirect_uri"]:
            return self._tokens(None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return self._tokens(None)
        return self._signed_in()

    def _poll(self, form: dict[str, str]) -> web.Response:
        if self.script:
            return web.json_response({"error": self.script.pop(0)}, status=400)
        if not self.entered:
            return web.json_response({"error": "authorization_pending"}, status=400)
        return self._signed_in() if self._codes.pop(form["device_code"], None) is not None else self._tokens(None)

    def _signed_in(self) -> web.Response:
        return self._tokens((self._access_token(), self.login() if self.offline else None))

    def _access_token(self) -> str:
        self.issued += 1
        access = f"access-{CANARY}-{self.issued}"
        self._access[access] = (Family(0), self._expiry())
        return access


@asynccontextmanager
async def login_server() -> AsyncIterator[LoginServer]:
    """Run one."""
    server = LoginServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
