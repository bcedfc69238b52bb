"""Checks of an archive and a configuration before a long run."""
