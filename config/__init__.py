"""Wiring: settings, addresses, processes. Imports everything, imported by nobody."""
