"""`python -m compile.cli`: the same as `armature`."""

from compile.cli import main

main()
