"""``python -m evenface`` runs the command line."""

from evenface.cli import main

main()
