"""`python -m compiler` is `elastiq`."""

from compiler.cli import main

main()
