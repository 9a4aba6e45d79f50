"""Runners load and run one backend's engines each."""
