"""The daemon as a process under load: much content, many tunnels, slow peers, and ends in the midst of it."""
