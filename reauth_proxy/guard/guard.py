"""The guard: everything that is asked of a request before anything else happens to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reauth_proxy.guard import cors, tokens
from reauth_proxy.guard.hosts import Hosts
from reauth_proxy.guard.origins import Origins
from reauth_proxy.guard.paths import PathRules
from reauth_proxy.session.tokens import Secret


@dataclass(frozen=True, slots=True)
class Guard:
    """Host, Origin, client token and path, in this order.

    Attributes:
        client_token: what every request must bring, or None.
        paths: the path rules, if there are any.
    """

    hosts: Hosts = field(default_factory=Hosts)
    origins: Origins = field(default_factory=Origins)
    client_token: Secret | None = None
    paths: PathRules | None = None

    def page(self, host: bytes | None, marks: Sequence[bytes] | None) -> bytes | None:
        """Judge where a request comes from; return the listed origin whose page sent it, or None.

        Args:
            host: the Host field's value, or None.
            marks: names and values, in turn, of its Origin, Sec-Fetch-Site and Referer fields; None: there are none.

        Raises:
            HostDenied, OriginDenied: it may not call.
        """
        if host not in self.hosts.known:
            self.hosts.check(host)
        return None if marks is None else self.origins.judge(host, marks)

    def answer_lines(self, page: bytes | None, fields: Iterable[tuple[bytes, bytes]] = ()) -> list[bytes]:
        """Return the field lines by which browsers learn who may read an answer.

        Args:
            page: what :meth:`page` returned.
            fields: the upstream's answer's, if it is one.
        """
        if page is not None:
            return cors.lines(page, fields)
        return [cors.VARY] if self.origins.listed else []

    def client(self, credentials: Sequence[tuple[bytes, bytes]] | None) -> None:
        """Judge who calls. A browser's preflight comes without a client token, and is not asked.

        Args:
            credentials: its Reauth-Client-Token and Authorization fields, names in lower case.

        Raises:
            ClientDenied: the client token is missing or wrong.
        """
        if self.client_token is not None:
            tokens.check(self.client_token, credentials or ())

    def path(self, method: str, target: bytes) -> None:
        """Judge what is called.

        Raises:
            PathDenied: the rules do not let it through.
        """
        if self.paths is not None:
            self.paths.check(method, target)
