/* The program that lies on the board: runs the bundle it lies in, or serves TVM's RPC. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent.h"

const char kOtherRoles[] = "Other roles: run serve --help, run info.\n";

void log_line(const char* format, ...) {
  char line[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  fprintf(stderr, "agent: %s\n", line);
}

double seconds_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "serve") == 0) return serve_main(argc - 1, argv + 1);
  if (argc > 1 && strcmp(argv[1], "info") == 0) return info_main(argc - 1, argv + 1);
  if (argc > 1 && strcmp(argv[1], "run") == 0) return run_main(argc - 1, argv + 1);
  if (argc > 1 && argv[1][0] != '-') {
    fprintf(stderr, "%s: unknown role '%s'; the roles are run (the default), serve and info\n", argv[0], argv[1]);
    return EXIT_USAGE;
  }
  return run_main(argc, argv);
}
