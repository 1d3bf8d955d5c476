"""``python -m evenface.cli`` is the command line."""

from evenface.cli import main

main()
