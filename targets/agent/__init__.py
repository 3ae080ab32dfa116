"""The program that runs on a board: our C in `src`, TVM's runtime, and how they are built."""
