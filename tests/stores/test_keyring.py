"""The keyring store with a real backend of the keyring package: a file, where there is no desktop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail
from keyring.errors import PasswordSetError
from keyrings.alt.file import PlaintextKeyring

from reauth_proxy.errors import StoreBusy, StoreCorrupt, StoreError, StoreSuperseded
from reauth_proxy.session.tokens import Secret, StoredSession
from reauth_proxy.stores.keyring import SERVICE, KeyringStore

OLD = StoredSession(Secret("refresh-CANARY-1"), Secret("access-CANARY-1"), 1_800_000_000.0, 1)
NEW = StoredSession(Secret("refresh-CANARY-é-2"), Secret("access-CANARY-2"), 1_800_000_060.0, 2)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[PlaintextKeyring]:
    """A keyring of this test's own."""
    before = keyring.get_keyring()
    backend = PlaintextKeyring()
    backend.file_path = str(tmp_path / "keyring.cfg")
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def a_store(tmp_path: Path, timeout: float = 3.0) -> KeyringStore:
    return KeyringStore("default-01234567", tmp_path / "state" / "default.json", timeout=timeout)


async def test_what_was_saved_is_there_for_the_next_process(tmp_path: Path, backend: PlaintextKeyring) -> None:
    store = a_store(tmp_path)
    await store.check()
    assert await store.load() is None
    async with store.lock():
        await store.save(OLD)
        await store.save(NEW)
    await store.close()
    assert await a_store(tmp_path).load() == NEW
    assert await store.load_backup() is None
    assert backend.get_password(SERVICE, "default-01234567 check") is None
    assert "CANARY" not in repr(store)


async def test_loads_and_saves_at_once_wait_for_each_other(tmp_path: Path, backend: PlaintextKeyring) -> None:
    store = a_store(tmp_path, timeout=20.0)
    await asyncio.gather(*(store.save(OLD) for _ in range(5)), *(store.load() for _ in range(5)))
    assert await store.load() == OLD


async def test_without_a_keyring_it_refuses_with_the_mend(tmp_path: Path, backend: PlaintextKeyring) -> None:
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    with pytest.raises(StoreError, match=r"there is no keyring here.*store: \{type: file\}"):
        await a_store(tmp_path).check()


async def test_what_is_no_session_says_how_to_remove_it(tmp_path: Path, backend: PlaintextKeyring) -> None:
    backend.set_password(SERVICE, "default-01234567", "CANARY")
    with pytest.raises(StoreCorrupt, match="keyring del reauth-proxy default-01234567") as caught:
        await a_store(tmp_path).load()
    assert "CANARY" not in str(caught.value)


async def test_an_error_of_the_keyring_is_told_by_its_kind(
    tmp_path: Path, backend: PlaintextKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PasswordSetError("CANARY")

    monkeypatch.setattr(backend, "set_password", refuse)
    with pytest.raises(StoreError, match=r"could not be written \(PasswordSetError\)") as caught:
        await a_store(tmp_path).save(OLD)
    assert "CANARY" not in str(caught.value)


async def test_a_keyring_that_hangs_holds_nobody_up_and_is_asked_once(
    tmp_path: Path, backend: PlaintextKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, asked = threading.Event(), []

    def hang(*args: object) -> str | None:
        asked.append(args)
        gate.wait(20)
        return None

    monkeypatch.setattr(backend, "get_password", hang)
    store = a_store(tmp_path, timeout=0.05)
    with pytest.raises(StoreError, match=r"did not answer within 0\.05 s"):
        await store.load()
    with pytest.raises(StoreError, match=r"did not answer within 0\.05 s"):
        await store.load()
    assert len(asked) == 1
    gate.set()
    async with asyncio.timeout(20):
        while store._worker.hangs:
            await asyncio.sleep(0.01)
    store = a_store(tmp_path)
    assert await store.load() is None


async def test_processes_keep_each_other_off_and_hear_of_each_other(tmp_path: Path, backend: PlaintextKeyring) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path)
    other._beside._lock_timeout = 0.1
    changes = other.changes()
    await anext(changes)  # It listens now.
    heard = asyncio.ensure_future(anext(changes))
    async with one.lock():
        with pytest.raises(StoreBusy):
            async with other.lock():
                pass
        await one.save(NEW, over="")
    async with asyncio.timeout(20):
        await heard
    assert await other.load() == NEW
    await changes.aclose()


async def test_a_sign_in_that_takes_no_lock_is_heard_of(tmp_path: Path, backend: PlaintextKeyring) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path)
    changes = other.changes()
    await anext(changes)  # It listens now.
    await one.save(NEW)
    async with asyncio.timeout(20):
        await anext(changes)
    assert await other.load() == NEW
    await changes.aclose()


async def test_a_holder_that_lost_the_lock_does_not_write(tmp_path: Path, backend: PlaintextKeyring) -> None:
    one, other = a_store(tmp_path), a_store(tmp_path)
    async with one.lock():
        (tmp_path / "state" / "default.json.lock").unlink()
        async with other.lock():
            await other.save(NEW)
            with pytest.raises(StoreSuperseded):
                await one.save(OLD, over=NEW.line)
    assert await other.load() == NEW
