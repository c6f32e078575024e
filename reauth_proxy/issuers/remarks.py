"""Tells the log what was odd about a token endpoint's answer."""

from __future__ import annotations

import structlog

from reauth_proxy.issuers.judged import Judged, OddTokenType, UnusableToken
from reauth_proxy.session.tokens import TokenReply

_log = structlog.get_logger(__name__)


def told(judged: Judged) -> TokenReply:
    """Log the remarks; return the reply."""
    for remark in judged.remarks:
        match remark:
            case OddTokenType(text, name):
                _log.warning("refresh.odd_token_type", text=text, token_type=name)
            case UnusableToken(problem):
                _log.error("refresh.unusable_token", problem=problem)
    return judged.reply
