"""What a credential and its token endpoint may hold."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from reauth_proxy.config.address import Url
from reauth_proxy.config.fields import for_token, read_cookie, read_scheme
from reauth_proxy.config.kinds import (
    BaseUrl,
    Choice,
    EndpointUrl,
    JsonPointer,
    PortNumber,
    Scope,
    Status,
    Words,
    mentions,
)
from reauth_proxy.config.secrecy import (
    AuthorizationParameters,
    Body,
    EndpointFields,
    Parameters,
    SecretLine,
    SecretValue,
)
from reauth_proxy.session.tokens import STAND_IN, Secret

ClientAuth = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
KeyAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Section(BaseModel):
    """A mapping of keys, all of them known. A key without a value counts as absent, but for `NULL_SAYS_SOMETHING`."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    NULL_SAYS_SOMETHING: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        absent = cls.model_fields.keys() - cls.NULL_SAYS_SOMETHING
        return {key: value for key, value in data.items() if value is not None or key not in absent}


class OAuth2Endpoint(Section):
    """A token endpoint of RFC 6749, asked with the refresh grant (section 6)."""

    type: Annotated[Literal["oauth2"], Choice] = Field("oauth2", description="RFC 6749 section 6.")
    url: EndpointUrl | None = Field(None, description="The token endpoint. Either this or `issuer`.")
    issuer: BaseUrl | None = Field(
        None,
        validate_default=True,
        description="The authorization server; its metadata (RFC 8414, OpenID Connect) name the token endpoint.",
    )
    client_id: Words = Field(description="The client identifier that the authorization server knows.")
    client_secret: SecretLine | None = Field(None, description="The client's password.")
    private_key: SecretValue | None = Field(
        None, repr=False, description="The client's private key, PEM or JWK, for client_auth: private_key_jwt."
    )
    private_key_id: Words | None = Field(None, description="The key's id, sent as kid.")
    private_key_alg: Annotated[KeyAlgorithm, Choice] | None = Field(
        None, description="The signature's algorithm; as a rule the key says it."
    )
    client_auth: Annotated[ClientAuth, Choice] = Field(
        default_factory=lambda data: "client_secret_basic" if data.get("client_secret") else "none",
        validate_default=True,
        description="How the client authenticates; client_secret_basic if there is a client_secret, else none.",
    )
    scope: Scope | None = Field(
        None, description="Scopes to ask for, with spaces between them; absent keeps those granted."
    )
    params: Parameters = Field(default_factory=dict, description="More form parameters, such as audience.")
    headers: EndpointFields = Field(default_factory=dict, description="More fields for the request.")
    authorization_url: EndpointUrl | None = Field(
        None, description="Where `login` sends the browser; with `issuer`, its metadata say it."
    )
    device_authorization_url: EndpointUrl | None = Field(
        None, description="Where `login --device` gets its code (RFC 8628); with `issuer`, its metadata say it."
    )
    revocation_url: EndpointUrl | None = Field(
        None, description="Where a logout revokes tokens (RFC 7009); with `issuer`, its metadata say it."
    )
    authorization_params: AuthorizationParameters = Field(
        default_factory=dict, description="More parameters of a login's request, such as prompt or audience."
    )
    redirect_port: PortNumber = Field(
        0, description="Port on 127.0.0.1 to which `login` has the browser sent back; 0: any free one."
    )

    @field_validator("issuer")
    @classmethod
    def _exactly_one(cls, issuer: Url | None, info: ValidationInfo) -> Url | None:
        if "url" in info.data:
            if issuer is None and info.data["url"] is None:
                raise ValueError("`url` or `issuer` is required, to know where the token endpoint is")
            if issuer is not None and info.data["url"] is not None:
                raise ValueError("`url` and `issuer` exclude each other; remove one")
        return issuer

    @field_validator("client_auth")
    @classmethod
    def _has_what_it_needs(cls, client_auth: str, info: ValidationInfo) -> str:
        for key, users in (
            ("client_secret", ("client_secret_basic", "client_secret_post")),
            ("private_key", ("private_key_jwt",)),
        ):
            if key not in info.data:
                continue
            if client_auth in users and info.data[key] is None:
                raise ValueError(f"{client_auth} needs `{key}`")
            if client_auth not in users and info.data[key] is not None:
                raise ValueError(f"`{key}` is not used with {client_auth}; remove it, or write {' or '.join(users)}")
        return client_auth

    @field_validator("headers")
    @classmethod
    def _one_authorization(cls, headers: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.data.get("client_auth") == "client_secret_basic" and any(
            name.lower() == "authorization" for name in headers
        ):
            raise ValueError("Authorization is what client_auth: client_secret_basic sets; remove one")
        return headers


class ResponsePointers(Section):
    """Where the tokens are in the answer: JSON Pointers (RFC 6901)."""

    access_token: JsonPointer = Field(description="Where the access token is.")
    refresh_token: JsonPointer | None = Field(None, description="Where the new refresh token is, if there may be one.")
    expires_in: JsonPointer | None = Field(None, description="Where the access token's lifetime in seconds is.")
    expires_at: JsonPointer | None = Field(
        None, description="Where the access token's expiry is, in epoch seconds or as of RFC 3339."
    )
    refresh_expires_in: JsonPointer | None = Field(
        None, description="Where the refresh token's lifetime in seconds is, if it says one."
    )

    @field_validator("expires_at")
    @classmethod
    def _one_expiry(cls, expires_at: str | None, info: ValidationInfo) -> str | None:
        if expires_at is not None and info.data.get("expires_in") is not None:
            raise ValueError("`expires_in` and `expires_at` exclude each other; remove one")
        return expires_at


class JsonEndpoint(Section):
    """A hand-made API that takes a refresh token and answers JSON."""

    type: Annotated[Literal["json"], Choice] = Field(description="A hand-made API.")
    url: EndpointUrl = Field(description="What to call.")
    method: Annotated[Literal["GET", "POST", "PUT", "PATCH"], Choice] = Field(
        "POST", description="The request's method."
    )
    headers: EndpointFields = Field(
        default_factory=dict, description="More fields; {refresh_token} and {access_token} are filled in."
    )
    body: Body = Field(
        None,
        validate_default=True,
        repr=False,
        description="The JSON to send; in its strings, {refresh_token} and {access_token} are filled in.",
    )
    response: ResponsePointers = Field(description="Where the tokens are in the answer.")
    denied_statuses: tuple[Status, ...] = Field(
        (400, 401, 403), description="What this API answers when the refresh token is no good."
    )

    @field_validator("body")
    @classmethod
    def _sends_a_token(cls, body: object, info: ValidationInfo) -> object:
        if "headers" in info.data and not mentions([body, info.data["headers"]], "refresh_token", "access_token"):
            raise ValueError('no token would be sent; write "{refresh_token}" where this API expects it')
        return body


def _endpoint_type(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "oauth2" if kind is None else str(kind)


class Sent(Section):
    """How an access token goes upstream."""

    header: Annotated[str, BeforeValidator(for_token)] = Field(
        "Authorization", description="The field that brings the access token."
    )
    scheme: Annotated[str, BeforeValidator(read_scheme)] = Field(
        "Bearer", description='What stands before the access token; "" for the bare value.'
    )
    cookie: Annotated[str, BeforeValidator(read_cookie)] | None = Field(
        None, description="The cookie that brings the access token, in place of a field."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.cookie is not None and self.model_fields_set & {"header", "scheme"}:
            raise ValueError("`cookie` excludes `header` and `scheme`; remove one")
        if self.header.lower() != "authorization" and "scheme" not in self.model_fields_set:
            raise ValueError(
                f'say what stands before the token in {self.header}: `scheme: ""` for nothing, or such as Bearer'
            )
        return self


class Credential(Section):
    """What signs requests in."""

    grant: Annotated[Literal["refresh_token", "client_credentials"], Choice] = Field(
        "refresh_token",
        description="How access tokens are had: with a refresh token, or by the client for itself (RFC 6749 4.4).",
    )
    refresh_token: SecretLine | None = Field(
        None, description="The first refresh token; absent, it comes from the store."
    )
    token_endpoint: Annotated[
        Annotated[OAuth2Endpoint, Tag("oauth2")] | Annotated[JsonEndpoint, Tag("json")], Discriminator(_endpoint_type)
    ] = Field(description="Where a refresh token is exchanged for an access token.")
    send: Sent | None = Field(None, description="How the access token goes upstream; absent, as a bearer token.")

    @field_validator("refresh_token")
    @classmethod
    def _for_its_grant(cls, refresh_token: Secret | None, info: ValidationInfo) -> Secret | None:
        if refresh_token is not None and info.data.get("grant") == "client_credentials":
            raise ValueError("`grant: client_credentials` has no refresh token; remove one of the two")
        return refresh_token

    @field_validator("token_endpoint")
    @classmethod
    def _knows_the_grant(cls, endpoint: OAuth2Endpoint | JsonEndpoint, info: ValidationInfo) -> object:
        if info.data.get("grant") != "client_credentials":
            return endpoint
        if endpoint.type != "oauth2":
            raise ValueError("`grant: client_credentials` needs a token endpoint of `type: oauth2`")
        if endpoint.client_auth == "none":
            raise ValueError("`grant: client_credentials` needs a client that can prove who it is; set `client_secret`")
        return endpoint

    @property
    def configured(self) -> Secret | None:
        """What a session begins with: the refresh token, or what stands in for it under a grant that has none."""
        return STAND_IN if self.grant == "client_credentials" else self.refresh_token
