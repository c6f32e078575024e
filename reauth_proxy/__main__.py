"""``python -m reauth_proxy`` is the same program as ``reauth-proxy``."""

from reauth_proxy.cli import main

if __name__ == "__main__":
    main()
