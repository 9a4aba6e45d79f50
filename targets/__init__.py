"""What can be compiled for: `devices/*.toml` say what a device is, `backends/*.py` build for it."""
