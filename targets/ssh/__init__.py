"""A board reached by SSH alone: the agent is taken there, started, and gone when the link is."""
