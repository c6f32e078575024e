"""Where a session survives a restart: ``file`` (the default) and ``memory``, which does not survive it."""
