"""A phone or a board reached by adb: the agent is taken there, started, and gone when the link is."""
