"""What `init` writes is what `check` accepts, whatever the answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reauth_proxy.commands.recipe import Answers, written
from reauth_proxy.config.load import parse

API, ISSUER = "https://api.example.com/v1", "https://id.example.com"
ENVIRON = {"REFRESH": "token", "SECRET": "secret"}


@pytest.mark.parametrize(
    "answers",
    [
        Answers(API, "issuer", ISSUER, client_id="web"),
        Answers(API, "issuer", ISSUER, client_id="web", scope="openid offline_access", secret_env="SECRET"),
        Answers(API, "oauth2", f"{ISSUER}/token", client_id="0123", source="env", place="REFRESH"),
        Answers(API, "json", f"{API}/refresh", source="store"),
        Answers(API, "json", f"{API}/refresh", source="env", place="REFRESH", token_member="a: b"),
        Answers(API, "json", f"{API}/refresh", source="store", pointers=("/a", "", "")),
        Answers(API, "issuer", ISSUER, client_id="yes", listen="127.0.0.1:9000", origins=("http://localhost:5173",)),
        Answers("unix:/run/api.sock", "issuer", ISSUER, client_id="web", listen="unix:/tmp/x.sock"),
        Answers("http://localhost:3000", "issuer", "http://127.0.0.1:9/realm/x", client_id="web", listen="[::1]:80"),
    ],
)
def test_it_says_what_was_answered(answers: Answers) -> None:
    config = parse(written(answers), "config.yaml", ENVIRON, Path("/base"))
    assert str(config.upstream) == answers.upstream
    assert str(config.listen) == answers.listen
    assert config.access.origins == answers.origins
    assert config.credential is not None
    endpoint = config.credential.token_endpoint
    if endpoint.type == "oauth2":
        assert endpoint.client_id == answers.client_id
        assert str(endpoint.issuer or endpoint.url) == answers.endpoint
        assert endpoint.client_auth == ("client_secret_basic" if answers.secret_env else "none")
    else:
        assert endpoint.body == {answers.token_member: "{refresh_token}"}
        assert endpoint.response.access_token == answers.pointers[0]
    token = config.credential.configured
    assert (None if token is None else token.reveal()) == ("token" if answers.source == "env" else None)


def test_every_section_has_a_comment() -> None:
    text = written(Answers(API, "issuer", ISSUER, client_id="web"))
    for block in text.split("\n\n"):
        assert "#" in block


@given(st.text(min_size=1, max_size=60))
def test_no_answer_becomes_anything_but_a_text(answer: str) -> None:
    text = written(Answers(answer, "oauth2", answer, client_id=answer, scope=answer, origins=(answer,)))
    found = yaml.load(text, yaml.BaseLoader)
    assert found["upstream"] == found["credential"]["token_endpoint"]["client_id"] == answer
    assert found["access"]["origins"] == [answer]
    assert set(found) == {"listen", "upstream", "credential", "access", "control"}
