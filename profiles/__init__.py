"""Profiles: latency tables turned into choices and pictures."""
