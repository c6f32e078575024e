"""What is asked of the system that the daemon runs on, and of the interpreter."""
