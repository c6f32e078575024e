"""The daemon: everything built from a configuration, started, reloaded and drained."""
