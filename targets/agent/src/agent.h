/* What the agent's files share: a version, exit codes, the log line, and the roles. `run` of a C library
 * (targets/runner) has the first role alone. */
#ifndef ARMATURE_AGENT_H_
#define ARMATURE_AGENT_H_

#include <stddef.h>

#define AGENT_VERSION "0.1.0"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* The roles: each takes its own arguments (argv[0] is the role's name) and returns an exit code. */
int run_main(int argc, char** argv);
int serve_main(int argc, char** argv);
int info_main(int argc, char** argv);

/* Of the program: the end of the help of `run`. */
extern const char kOtherRoles[];

/* One line on stderr, after the program's name. */
void log_line(const char* format, ...) __attribute__((format(printf, 1, 2)));

/* By a clock that never goes back. */
double seconds_now(void);

/* Writes what this CPU is, as a JSON object, into `json`. */
void device_info(char* json, size_t size);

#endif
