"""What the people who run it see: logs."""
