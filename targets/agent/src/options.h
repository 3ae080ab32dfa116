/* What `serve` is told on its command line. */
#ifndef ARMATURE_OPTIONS_H_
#define ARMATURE_OPTIONS_H_

#include <limits.h>
#include <sys/types.h>

#include "tracker.h"

typedef struct {
  const char* host;
  int port;
  const char* token_file; /* NULL: none named */
  double session_seconds;
  long memory_kib, disk_kib;
  char work_dir[PATH_MAX];
  Tracker tracker;
  pid_t expected_parent; /* 0: any */
  int with_stdin, takes_turns;
} Options;

/* 0: go on; 1: help was printed; -1: it is no command line, and why was logged. */
int options_parse(int argc, char** argv, Options* options);

#endif
