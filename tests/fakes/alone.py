"""The real daemon as it is where nothing but its own dependencies is installed: ``python -m tests.fakes.alone …``.

structlog takes rich along where it finds it, which is 3 MB; here the tools of CI have brought it.
"""

from __future__ import annotations

import sys

sys.modules["rich"] = None  # type: ignore[assignment]  # so that importing it fails

from reauth_proxy.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
