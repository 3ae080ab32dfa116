"""Whether a board is well: a list of checks, each with a remedy."""
