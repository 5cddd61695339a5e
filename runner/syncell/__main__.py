"""`python -m syncell` is the command `syncell`."""

from syncell.cli import main

main()
