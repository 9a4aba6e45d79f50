"""Sensors of device load, one file each."""
