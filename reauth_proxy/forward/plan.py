"""What the forwarder goes by; replaced as a whole when the configuration is read again."""

from __future__ import annotations

from dataclasses import dataclass, field

from reauth_proxy.clients.limits import Limits
from reauth_proxy.forward.fields import RequestRules, ResponseRules
from reauth_proxy.forward.routes import Routes
from reauth_proxy.forward.spool import Keeping
from reauth_proxy.guard.guard import Guard


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings for requests that start from now on.

    Attributes:
        routes: where requests go.
        request_rules, response_rules: what becomes of their fields.
        limits: on clients.
        guard: who may call, and what.
        keeping: how much content is kept for a replay.
    """

    routes: Routes
    request_rules: RequestRules
    response_rules: ResponseRules
    limits: Limits = field(default_factory=Limits)
    guard: Guard = field(default_factory=Guard)
    keeping: Keeping = field(default_factory=Keeping)
