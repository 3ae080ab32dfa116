"""The program `run` beside a C library: our C, without TVM's runtime, for the library's platform."""
