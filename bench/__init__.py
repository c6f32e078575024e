"""What is faster than what: this daemon and its peers, side by side in one run. See README.md here."""
