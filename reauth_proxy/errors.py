"""Everything that can go wrong, as a tree.

::

    ReauthError
    ├── ConfigError                 a mistake of the person who wrote the file: exit status 2
    ├── StartError                  the daemon cannot listen
    ├── UnsupportedLibrary          a library is installed in a release that was not tested
    ├── LoginError                  signing in or out by a command did not work
    ├── StoreError                  a session could not be read from, or written to, its store
    │   ├── StoreBusy               its lock cannot be had: nothing may be refreshed
    │   │   └── StoreAway           nobody knows what it holds: it cannot be reached, or not be decrypted
    │   ├── StoreCorrupt            what it holds is cut off, or no session
    │   ├── StoreSlow               it does not answer, as a disk that hangs
    │   └── StoreSuperseded         another process took the lock over meanwhile
    │       └── StoreEnded          somebody signed in or out meanwhile
    └── Refusal                     an answer that the proxy gives itself; knows its code and status
        ├── BadRequest              400 bad_request
        ├── ClientDenied            401 client_denied
        ├── LoggedOut               401 logged_out, with the logout signal
        ├── LoginFailed             403 login_failed
        ├── OriginDenied            403 origin_denied
        ├── PathDenied              403 path_denied
        ├── NoRoute                 404 no_route
        ├── MethodNotSupported      405 method_not_supported
        ├── RequestTimeout          408 request_timeout
        ├── ContentTooLarge         413 content_too_large
        ├── ExpectationFailed       417 expectation_failed
        ├── HostDenied              421 host_denied
        ├── FieldsTooLarge          431 fields_too_large
        ├── InternalError           500 internal_error
        ├── TransferCodingUnsupported  501 transfer_coding_unsupported
        ├── UpstreamUnreachable     502 upstream_unreachable
        ├── UpstreamMalformed       502 upstream_malformed
        ├── TooManyConnections      503 too_many_connections
        ├── TooManyParked           503 too_many_parked
        ├── RefreshTimeout          503 refresh_timeout
        ├── RefreshUnavailable      503 refresh_unavailable
        ├── UpstreamBusy            503 upstream_busy
        ├── Draining                503 draining
        ├── UpstreamTimeout         504 upstream_timeout
        └── VersionNotSupported     505 version_not_supported

No error carries a secret, or text that a client or an upstream sent.
"""

from __future__ import annotations

from typing import ClassVar, Literal

LogoutReason = Literal["no_session", "refresh_denied", "refresh_unavailable", "signed_out"]


class ReauthError(Exception):
    """Base of every error that this program raises on purpose."""


class ConfigError(ReauthError):
    """The configuration cannot be used.

    Args:
        problems: one complete sentence each, with ``file:line: key:`` in front.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LoginError(ReauthError):
    """Signing in or out by a command did not work; the text says what to do."""


class StoreError(ReauthError):
    """A store could not be read or written; the text says where and why, never what."""


class StoreBusy(StoreError):
    """The store's lock cannot be had: another process may be using its refresh token right now."""


class StoreAway(StoreBusy):
    """What the store holds cannot be known now, and may be newer than what we have: nothing may be refreshed."""


class StoreCorrupt(StoreError):
    """What the store holds is cut off, altered, or no session at all."""


class StoreSlow(StoreError):
    """A store did not answer within ``store.timeout``; what it was to do, it may still do."""


class StoreSuperseded(StoreError):
    """Another process took over the lock of this one, which was stopped for too long: its write is refused."""


class StoreEnded(StoreSuperseded):
    """Somebody signed in or out meanwhile: what belongs to the session before is not written over that."""


class Refusal(ReauthError):
    """An answer that the proxy gives instead of the upstream.

    Args:
        detail: one sentence for the person who reads the answer.
        retry_after: seconds after which trying again makes sense, or None.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    #: RFC 9209 section 2.3 error type, for Proxy-Status.
    proxy_error: ClassVar[str] = "http_request_error"
    #: The connection to the client is closed after the answer.
    closes: ClassVar[bool] = False

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class BadRequest(Refusal):
    code, status, title = "bad_request", 400, "Bad request"
    closes = True


class ClientDenied(Refusal):
    """The client brought no client token, a wrong one, or is another user of this machine."""

    code, status, title = "client_denied", 401, "Client denied"
    proxy_error = "http_request_denied"


class LoggedOut(Refusal):
    """The session has ended, as far as this request can tell; carries the logout signal (RFC 6750 section 3)."""

    code, status, title = "logged_out", 401, "Logged out"
    proxy_error = "http_request_denied"

    def __init__(self, reason: LogoutReason, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail, retry_after)
        self.reason: LogoutReason = reason


class LoginFailed(Refusal):
    """The authorization server did not sign a person in whose browser came back from it."""

    code, status, title = "login_failed", 403, "Not signed in"
    proxy_error = "http_request_denied"


class OriginDenied(Refusal):
    """A web page asked that may not (RFC 6454)."""

    code, status, title = "origin_denied", 403, "Origin denied"
    proxy_error = "http_request_denied"


class PathDenied(Refusal):
    code, status, title = "path_denied", 403, "Path denied"
    proxy_error = "http_request_denied"


class NoRoute(Refusal):
    """No route's path covers the request's (RFC 9110 section 15.5.5)."""

    code, status, title = "no_route", 404, "No route"


class MethodNotSupported(Refusal):
    """The method is none that there is here (RFC 9110 section 15.5.6).

    Args:
        allowed: the methods that there are, where they are few.
    """

    code, status, title = "method_not_supported", 405, "Method not supported"
    closes = True

    def __init__(self, detail: str, allowed: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail, retry_after)
        self.allowed = allowed


class RequestTimeout(Refusal):
    """The client took too long over its header section or its content (RFC 9110 section 15.5.9)."""

    code, status, title = "request_timeout", 408, "The request took too long"
    proxy_error = "http_request_error"
    closes = True


class ContentTooLarge(Refusal):
    code, status, title = "content_too_large", 413, "Content too large"
    closes = True


class ExpectationFailed(Refusal):
    code, status, title = "expectation_failed", 417, "Expectation failed"
    closes = True


class HostDenied(Refusal):
    """The Host is none that the proxy answers to (RFC 9110 section 15.5.20)."""

    code, status, title = "host_denied", 421, "Host denied"
    proxy_error = "http_request_denied"
    closes = True


class FieldsTooLarge(Refusal):
    code, status, title = "fields_too_large", 431, "Header section too large"
    closes = True


class InternalError(Refusal):
    """A defect of the proxy itself; the log has the rest."""

    code, status, title = "internal_error", 500, "Internal error"
    proxy_error = "proxy_internal_error"
    closes = True


class TransferCodingUnsupported(Refusal):
    code, status, title = "transfer_coding_unsupported", 501, "Transfer coding not supported"
    proxy_error = "proxy_internal_response"
    closes = True


class UpstreamUnreachable(Refusal):
    code, status, title = "upstream_unreachable", 502, "Upstream unreachable"
    proxy_error = "destination_unavailable"


class UpstreamMalformed(Refusal):
    code, status, title = "upstream_malformed", 502, "Malformed answer from the upstream"
    proxy_error = "http_protocol_error"


class TooManyConnections(Refusal):
    code, status, title = "too_many_connections", 503, "Too many connections"
    proxy_error = "proxy_internal_response"
    closes = True


class UpstreamBusy(Refusal):
    code, status, title = "upstream_busy", 503, "Too many requests wait for the upstream"
    proxy_error = "connection_limit_reached"


class TooManyParked(Refusal):
    code, status, title = "too_many_parked", 503, "Too many requests wait for a refresh"
    proxy_error = "proxy_internal_response"


class RefreshTimeout(Refusal):
    code, status, title = "refresh_timeout", 503, "The refresh took too long"
    proxy_error = "proxy_internal_response"


class RefreshUnavailable(Refusal):
    code, status, title = "refresh_unavailable", 503, "The token endpoint is unavailable"
    proxy_error = "proxy_internal_response"


class Draining(Refusal):
    code, status, title = "draining", 503, "Shutting down"
    proxy_error = "proxy_internal_response"
    closes = True


class UpstreamTimeout(Refusal):
    code, status, title = "upstream_timeout", 504, "The upstream took too long"
    proxy_error = "http_response_timeout"


class VersionNotSupported(Refusal):
    code, status, title = "version_not_supported", 505, "HTTP version not supported"
    proxy_error = "proxy_internal_response"
    closes = True
