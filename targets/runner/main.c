/* The program that lies beside a C library: runs it from the shell (run.c of the agent). */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "agent.h"

const char kOtherRoles[] = "";

void log_line(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("run: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

double seconds_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char** argv) { return run_main(argc, argv); }
