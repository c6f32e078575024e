"""The control plane: how the daemon is, for people and orchestrators, and what they may do with its sessions."""
