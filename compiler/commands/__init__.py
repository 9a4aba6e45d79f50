"""The commands, one module each (the passes share one): each exposes a click `command`."""
