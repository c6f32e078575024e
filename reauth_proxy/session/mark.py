"""What is known of a token request whose answer has not been saved. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from reauth_proxy.session.tokens import Secret, StoredSession


@dataclass(slots=True)
class Mark:
    """The refresh token that such a request was made with; a stored session carries it along.

    Attributes:
        refresh_token: None if there is no such request.
        used_at: when it began, in epoch seconds.
        answered: fingerprint of the token endpoint's configuration by which it got a 2xx of which nothing could be
            read; None if no such answer came.
        kept: the store has it, too.
    """

    refresh_token: Secret | None = field(default=None, repr=False)
    used_at: float | None = None
    answered: str | None = None
    kept: bool = False

    def doubts(self, refresh_token: Secret | None) -> bool:
        """Tell whether such a request was made with this refresh token."""
        return refresh_token is not None and self.refresh_token == refresh_token

    def rests(self, refresh_token: Secret | None, endpoint: str) -> bool:
        """Tell whether it got a 2xx of which this configuration of the token endpoint can read nothing."""
        return self.doubts(refresh_token) and self.answered == endpoint

    def read(self, stored: StoredSession | None) -> None:
        """Take note of what the store holds."""
        if stored is None:
            return
        if stored.used_at is not None:
            self.refresh_token, self.used_at, self.answered = stored.refresh_token, stored.used_at, stored.answered
            self.kept = True
        elif self.kept and self.doubts(stored.refresh_token):
            self.clear()  # Another process asked with it, and has saved what came of that.

    def begin(self, refresh_token: Secret | None, at: float) -> None:
        """A request is about to be made. One that comes to nothing leaves true what is known of the one before."""
        answered = self.answered if self.doubts(refresh_token) else None
        self.refresh_token, self.used_at, self.answered, self.kept = refresh_token, at, answered, False

    def clear(self) -> None:
        """What came of it has been saved, or it has not used the refresh token up."""
        self.refresh_token = self.used_at = self.answered = None
        self.kept = False

    def on(self, record: StoredSession) -> StoredSession:
        """Return the record with the mark, if that is of its refresh token."""
        if not self.doubts(record.refresh_token):
            return record
        return replace(record, used_at=self.used_at, answered=self.answered)
