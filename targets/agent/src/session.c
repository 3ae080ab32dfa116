#include "session.h"

#include <errno.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "ffi.h"
#include "governor.h"
#include "net.h"
#include "session_process.h"

/* For a process that waits to see by itself that its client is gone. */
static const double HANG_UP_SECONDS = 1.0;
static const double LOOK_SECONDS = 0.5;

enum { TELL_SECONDS = 3, MOST_ROUNDS = 100 };

static const struct {
  int number;
  const char* name;
} kSignals[] = {{SIGSEGV, "SIGSEGV"}, {SIGILL, "SIGILL"}, {SIGBUS, "SIGBUS"},   {SIGABRT, "SIGABRT"},
                {SIGFPE, "SIGFPE"},   {SIGTRAP, "SIGTRAP"}, {SIGKILL, "SIGKILL"}, {SIGSYS, "SIGSYS"},
                {SIGXFSZ, "SIGXFSZ"}};

static const char* signal_name(int number) {
  for (size_t i = 0; i < sizeof kSignals / sizeof kSignals[0]; i++) {
    if (kSignals[i].number == number) return kSignals[i].name;
  }
  return "other";
}

static int remove_entry(const char* path, const struct stat* status, int kind, struct FTW* place) {
  (void)status, (void)kind, (void)place;
  remove(path);
  return 0;
}

void remove_tree(const char* path) { nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

/* The process's resident memory in KiB; 0 when it is not told. */
static long resident_kib(pid_t process) {
  char path[64];
  long pages = 0;
  snprintf(path, sizeof path, "/proc/%d/statm", (int)process);
  FILE* file = fopen(path, "re");
  if (file == NULL) return 0;
  if (fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
  fclose(file);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static long long found_bytes;

static int add_entry(const char* path, const struct stat* status, int kind, struct FTW* place) {
  (void)path, (void)kind, (void)place;
  found_bytes += (long long)status->st_blocks * 512;
  return 0;
}

/* What a folder holds, in KiB. */
static long folder_kib(const char* folder) {
  found_bytes = 0;
  nftw(folder, add_entry, 16, FTW_PHYS);
  return (long)(found_bytes / 1024);
}

/* A session that is going on. */
typedef struct {
  pid_t process;
  const char* folder;
  double deadline;  /* 0: none */
  double gone;      /* since when its client has hung up; 0: it has not */
  double next_look; /* at its folder */
} Watch;

typedef enum { ENDED, STOPPED, TIME_UP, MEMORY_FULL, DISK_FULL, CLIENT_GONE } Ending;

/* Whether the process must be killed, and why. One that waits for its client sees by itself that it is gone, one that
 * is busy does not: it would keep the board from everybody. */
static Ending must_end(const Session* session, Watch* watch) {
  double now = seconds_now();
  if (session->interrupted()) return STOPPED;
  if (watch->deadline > 0 && now >= watch->deadline) return TIME_UP;
  if (watch->gone > 0 && now >= watch->gone + HANG_UP_SECONDS) return CLIENT_GONE;
  if (session->memory_kib > 0 && resident_kib(watch->process) > session->memory_kib) return MEMORY_FULL;
  if (session->disk_kib == 0 || now < watch->next_look) return ENDED;
  watch->next_look = now + LOOK_SECONDS;
  return folder_kib(watch->folder) > session->disk_kib ? DISK_FULL : ENDED;
}

/* Waits for the process to end, or kills it. */
static Ending wait_for(const Session* session, Watch* watch, int* status, struct rusage* usage) {
  struct pollfd client = {.fd = session->socket, .events = POLLRDHUP};
  while (wait4(watch->process, status, WNOHANG, usage) == 0) {
    Ending ending = must_end(session, watch);
    if (ending != ENDED) {
      kill(watch->process, SIGKILL);
      wait4(watch->process, status, 0, usage);
      return ending;
    }
    session->wait(session->server, &client, 100); /* a SIGCHLD ends it early */
    if (client.revents != 0) {
      watch->gone = seconds_now();
      client = (struct pollfd){.fd = -1}; /* only wait from now on */
    }
  }
  return ENDED;
}

/* Kills the processes that run in a folder; how many there were. */
static int kill_inside(const char* folder) {
  int count = 0;
  glob_t found;
  char place[PATH_MAX];
  if (glob("/proc/[0-9]*/cwd", 0, NULL, &found) != 0) return 0;
  for (size_t i = 0; i < found.gl_pathc; i++) {
    ssize_t length = readlink(found.gl_pathv[i], place, sizeof place - 1);
    if (length < 0) continue;
    place[length] = '\0';
    if (strncmp(place, folder, strlen(folder)) != 0) continue;
    count++;
    kill((pid_t)atol(found.gl_pathv[i] + strlen("/proc/")), SIGKILL);
  }
  globfree(&found);
  return count;
}

/* Kills what the client's code started and left: it runs where that did, unless it hides. */
static void end_strays(const char* folder) {
  const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
  for (int round = 0; round < MOST_ROUNDS && kill_inside(folder) > 0; round++) nanosleep(&pause, NULL);
}

/* Answers the call the client waits for with an error, so that it need not guess. */
static void tell_client(int socket, const char* message) {
  TVMFFIAny arguments[] = {ffi_int(socket), ffi_text(message)}, nothing;
  if (ffi_call_global("rpc.ReturnException", arguments, 2, &nothing) != 0) log_line("client gone: %s", ffi_error());
}

/* Whether a crash is what comes of memory that was not given: the process had nearly all that it may have. */
static int ran_out(const Session* session, const struct rusage* usage) {
  return session->memory_kib > 0 && usage->ru_maxrss >= session->memory_kib / 8 * 7;
}

static void report(const Session* session, Ending ending, int status, const struct rusage* usage) {
  char message[LAST_ERROR];
  if (ending == STOPPED) {
    snprintf(message, sizeof message, "the agent was stopped");
  } else if (ending == TIME_UP) {
    snprintf(message, sizeof message, "RPCSessionTimeoutError: session ended after %g s, its time limit", session->seconds);
  } else if (ending == CLIENT_GONE) {
    snprintf(session->last_error, LAST_ERROR, "session ended: its client hung up while the library was running");
    log_line("%s", session->last_error);
    return;
  } else if (ending == MEMORY_FULL || (WIFSIGNALED(status) && ran_out(session, usage))) {
    snprintf(message, sizeof message, "session ran out of memory: it had %ld MiB, allowed are %ld MiB",
             usage->ru_maxrss / 1024, session->memory_kib / 1024);
  } else if (ending == DISK_FULL || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)) {
    snprintf(message, sizeof message, "session stored more than %ld MiB, its limit", session->disk_kib / 1024);
  } else if (WIFSIGNALED(status)) {
    snprintf(message, sizeof message, "session crashed: signal %d (%s)", WTERMSIG(status), signal_name(WTERMSIG(status)));
  } else {
    return;
  }
  log_line("%s", message);
  memcpy(session->last_error, message, sizeof message);
  net_time_out(session->socket, TELL_SECONDS);
  tell_client(session->socket, message);
  net_drain(session->socket, TELL_SECONDS);
}

void session_serve(const Session* session) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s/session-XXXXXX", session->work_dir);
  if (mkdtemp(folder) == NULL) {
    log_line("%s: %s", session->work_dir, strerror(errno));
    close(session->socket);
    return;
  }
  governors_begin();
  pid_t agent = getpid(), process = fork();
  if (process == 0) session_process(session, folder, agent);
  if (process < 0) {
    log_line("fork: %s", strerror(errno));
    governors_end();
  } else {
    int status = 0;
    struct rusage usage = {0};
    Watch watch = {.process = process, .folder = folder};
    if (session->seconds > 0) watch.deadline = seconds_now() + session->seconds;
    Ending ending = wait_for(session, &watch, &status, &usage);
    end_strays(folder);
    governors_end();
    report(session, ending, status, &usage);
  }
  close(session->socket);
  remove_tree(folder);
}
