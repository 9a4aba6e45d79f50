"""Drivers turn requests into engine calls, one family of models each."""
