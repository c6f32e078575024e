"""Which file of the state directory is whose: one for each credential, and one for each refresh token."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores import default
from reauth_proxy.stores.codec import Codec
from reauth_proxy.stores.default import Owner, Place, default_path, find, settle

KEY = Secret("32" * 32)
OTHER_KEY = Secret("33" * 32)
T1, T2 = Secret("CANARY-1"), Secret("CANARY-2")
ONE, TWO = "file\0/etc/one.yaml", "file\0/etc/two.yaml"


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state directory; it is there."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    directory = tmp_path / "reauth-proxy"
    directory.mkdir(mode=0o700)
    return directory


def record(*roots: Secret, **more: object) -> StoredSession:
    fields = {"refresh_token": Secret("CANARY-newest"), "roots": tuple(root.fingerprint() for root in roots), **more}
    return StoredSession(**fields)  # type: ignore[arg-type]


def put(path: Path, session: StoredSession, keys: tuple[Secret, ...] = (), credential: str = "default") -> Path:
    path.write_bytes(Codec(credential, keys).encode(session))
    path.chmod(0o600)
    return path


def settled(owner: Owner) -> Place:
    place = find(owner)
    settle(place)
    return place


def test_a_new_credential_has_a_name_of_its_own_in_the_state_directory(state: Path) -> None:
    place = find(Owner("default", ONE, T1))
    assert place == Place(default.name_of(Owner("default", ONE)), "default")
    assert place.path.parent == state
    assert place.path.name.startswith("default-")
    assert find(Owner("default", TWO, T1)).path != place.path
    assert find(Owner("other", ONE, T1)).path != place.path
    assert not list(state.iterdir())


def test_a_state_directory_that_is_not_there_yet_is_no_problem(state: Path) -> None:
    state.rmdir()
    assert find(Owner("default", ONE, T1)).path.parent == state


@pytest.mark.parametrize(
    "known",
    [
        record(T1),
        record(T2, T1, life="somebody's"),
        record(spent=(T1.fingerprint(),)),
        record(life=T1.fingerprint()),
        StoredSession(T1),
        StoredSession(None, refused=T1, signed_out="refresh_denied"),
    ],
    ids=["root", "earlier root", "spent", "life", "in force", "refused"],
)
def test_the_file_that_knows_the_refresh_token_is_gone_on_with(known: StoredSession) -> None:
    path = put(default.name_of(Owner("default", TWO)), known)
    place = find(Owner("default", ONE, T1))
    assert (place.path, place.foreign) == (path, True)


def test_a_file_that_knows_another_token_is_left_alone() -> None:
    put(default.name_of(Owner("default", TWO)), record(T2))
    assert find(Owner("default", ONE, T1)).path == default.name_of(Owner("default", ONE))
    assert find(Owner("default", ONE)).path == default.name_of(Owner("default", ONE))


def test_a_renamed_credential_goes_on_with_its_file_even_if_it_is_encrypted() -> None:
    path = put(default.name_of(Owner("old", ONE)), record(T1), (KEY,), "old")
    place = find(Owner("new", ONE, T1), (KEY,))
    assert (place.path, place.credential, place.foreign) == (path, "old", False)


def test_a_file_of_version_0_1_is_gone_on_with_and_is_nobody_elses() -> None:
    path = default.first_name("default", "https://id.example/token web")
    path.write_text(
        '{"version": 1, "refresh_token": "CANARY-9", "access_token": null, "expires_at": null, "generation": 3,'
        f' "configured": "{T1.fingerprint()}", "signed_out": null}}'
    )
    place = find(Owner("default", ONE, T1))
    assert (place.path, place.foreign) == (path, False)


def test_what_was_gone_on_with_stays_when_the_token_is_no_longer_configured() -> None:
    path = put(default.name_of(Owner("default", TWO)), record(T1))
    assert settled(Owner("default", ONE, T1)).path == path
    place = find(Owner("default", ONE))
    assert (os.path.realpath(place.path), place.foreign) == (str(path), True)
    assert settled(Owner("default", ONE, T1)).foreign
    assert len(list(path.parent.iterdir())) == 2


def test_a_name_whose_file_went_to_another_configuration_gets_another_file_for_another_token() -> None:
    """The configuration was moved, and somebody else's was written in its place."""
    path = put(default.name_of(Owner("default", ONE)), record(T1))
    settled(Owner("default", TWO, T1))
    for token in (T2, None):
        assert find(Owner("default", ONE, token)).path == default.name_of(Owner("default", ONE), 1)
    assert find(Owner("default", ONE, T1)).path == path
    own = put(default.name_of(Owner("default", ONE), 1), record(T2))
    assert find(Owner("default", ONE, T2)).path == own
    assert find(Owner("default", ONE)).path == own


def test_whoever_came_for_a_token_and_has_another_now_leaves_the_file_to_its_owner() -> None:
    put(default.name_of(Owner("default", ONE)), record(T1))
    settled(Owner("default", TWO, T1))
    own = default.name_of(Owner("default", TWO), 1)
    assert find(Owner("default", TWO, T2)).path == own
    put(own, record(T2))
    assert find(Owner("default", TWO)).path == own


def test_another_token_in_the_same_configuration_keeps_the_file() -> None:
    path = put(default.name_of(Owner("default", ONE)), record(T1))
    assert find(Owner("default", ONE, T2)).path == path


def test_a_token_whose_session_is_elsewhere_goes_on_there_though_there_is_a_file_of_ones_own() -> None:
    put(default.name_of(Owner("default", ONE)), record(T1))
    path = put(default.name_of(Owner("default", TWO)), record(T2))
    assert settled(Owner("default", ONE, T2)).path == path
    assert os.path.realpath(find(Owner("default", ONE, T2)).path) == str(path)


@pytest.mark.parametrize("token", [None, T2])
def test_two_credentials_of_one_configuration_never_have_one_file(token: Secret | None) -> None:
    """`a` was renamed to `b`, and there is a new `a`."""
    path = put(default.name_of(Owner("a", ONE)), record(T1), credential="a")
    others = () if token is None else (token,)
    assert find(Owner("a", ONE, token, (T1,))).path == default.name_of(Owner("a", ONE), 1)
    assert find(Owner("b", ONE, T1, others)).path == path


def test_a_file_that_knows_the_tokens_of_two_is_that_of_the_one_whose_name_it_has() -> None:
    path = put(default.name_of(Owner("a", ONE)), record(T1, T2))
    assert find(Owner("a", ONE, T2, (T1,))).path == path
    assert find(Owner("b", ONE, T1, (T2,))).path == default.name_of(Owner("b", ONE))


def test_of_two_files_that_know_a_token_the_one_in_whose_life_it_is_wins() -> None:
    earlier = put(default.name_of(Owner("default", TWO)), record(T1, life="another"))
    present = put(default.name_of(Owner("default", "file\0/etc/three.yaml")), record(T1, life=T1.fingerprint()))
    os.utime(present, (0, 0))
    assert earlier.stat().st_mtime > present.stat().st_mtime
    assert find(Owner("default", ONE, T1)).path == present


def test_a_file_that_cannot_be_read_is_passed_over_but_for_its_second_copy(state: Path) -> None:
    sealed = default.name_of(Owner("default", TWO))
    put(sealed, record(T1), (OTHER_KEY,))
    own = default.name_of(Owner("default", ONE))
    assert find(Owner("default", ONE, T1), (KEY,)).path == own
    sealed.write_bytes(b"{")
    assert find(Owner("default", ONE, T1)).path == own
    put(sealed.with_name(sealed.name + ".backup"), record(T1))
    assert find(Owner("default", ONE, T1)).path == sealed
    sealed.unlink()
    os.mkfifo(sealed)
    assert find(Owner("default", TWO, T2)).path == sealed, "whoever opens it says what is wrong"
    assert find(Owner("default", ONE, T2)).path == own


def test_ones_own_file_that_cannot_be_read_stays_ones_own() -> None:
    own = default.name_of(Owner("default", ONE))
    put(own, record(T1), (OTHER_KEY,))
    put(default.name_of(Owner("default", TWO)), record(T1))
    assert find(Owner("default", ONE, T1), (KEY,)).path == own


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_passed_over() -> None:
    path = put(default.name_of(Owner("default", TWO)), record(T1))
    os.chown(path, 12345, 12345)
    assert find(Owner("default", ONE, T1)).path != path


def test_files_that_are_not_named_as_ours_are_not_read(state: Path) -> None:
    for name in ("session.json", "default-12345678.txt", "default-1234.json", "default-0123456789abcdef.json.backup"):
        put(state / name, record(T1))
    assert find(Owner("default", ONE, T1)).path == default.name_of(Owner("default", ONE))


def test_only_so_many_files_are_read_and_those_written_last_come_first(state: Path) -> None:
    known = put(state / "default-0123456789abcdef.json", record(T1))
    for number in range(200):
        path = put(state / f"default-{number:016x}.json", record(T2))
        os.utime(path, (2_000_000_000, 2_000_000_000))
    assert find(Owner("default", ONE, T1)).path == default.name_of(Owner("default", ONE))
    os.utime(known, (2_100_000_000, 2_100_000_000))
    assert find(Owner("default", ONE, T1)).path == known


def test_where_no_link_can_be_made_the_file_is_found_again(state: Path) -> None:
    path = put(default.name_of(Owner("default", TWO)), record(T1))
    place = find(Owner("default", ONE, T1))
    assert place.link is not None
    settle(replace(place, link=state / "missing" / place.link.name))
    assert find(Owner("default", ONE, T1)) == place
    assert place.path == path


def test_a_link_of_the_owners_own_leads_where_it_did(tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "volume.json", record(T1))
    own = default.name_of(Owner("default", ONE))
    own.symlink_to(elsewhere)
    for token in (T1, T2, None):
        assert find(Owner("default", ONE, token)) == Place(own, "default")


def test_no_token_is_in_what_is_shown() -> None:
    assert "CANARY" not in repr(Owner("default", ONE, T1, (T2,)))


def test_two_configs_never_share_a_file(state: Path) -> None:
    paths = {
        default_path("default", "https://a.example web"),
        default_path("default", "https://b.example web"),
        default_path("a/b", "x"),
        default_path("a_b", "x"),
        default_path("../a", "x"),
    }
    assert len(paths) == 5
    assert {path.parent for path in paths} == {state}
    assert default_path("default", "x") == default_path("default", "x")
