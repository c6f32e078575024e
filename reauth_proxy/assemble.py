"""What a Config says, as the plain settings that each room takes. Lists no defaults of its own."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from reauth_proxy.errors import ConfigError
from reauth_proxy.forward.fields import FieldChanges
from reauth_proxy.forward.route import Route, base_path
from reauth_proxy.session.state import RefreshPolicy
from reauth_proxy.upstream.dial import Origin
from reauth_proxy.upstream.pool import Pool

if TYPE_CHECKING:
    from reauth_proxy.config.model import TLS, Config
    from reauth_proxy.session.protocols import Store, TokenEndpoint
    from reauth_proxy.session.refresher import Session


def tls_context(tls: TLS) -> ssl.SSLContext:
    """Return the context with which upstreams and token endpoints are verified: TLS 1.2 or newer.

    Raises:
        ConfigError: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls.ca_file: {tls.ca_file} holds no usable certificates ({error.strerror or error})"
        ) from error
    if tls.client_cert is not None:
        try:
            context.load_cert_chain(tls.client_cert, tls.client_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"tls.client_cert: {tls.client_cert} and its key cannot be used ({error.strerror or error})"
            ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
