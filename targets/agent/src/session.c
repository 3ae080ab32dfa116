#include "session.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "board_state.h"
#include "ffi.h"

/* For a process that waits to see by itself that its client is gone. */
static const double HANG_UP_SECONDS = 1.0;

static const struct {
  int number;
  const char* name;
} kSignals[] = {{SIGSEGV, "SIGSEGV"}, {SIGILL, "SIGILL"}, {SIGBUS, "SIGBUS"},   {SIGABRT, "SIGABRT"},
                {SIGFPE, "SIGFPE"},   {SIGTRAP, "SIGTRAP"}, {SIGKILL, "SIGKILL"}, {SIGSYS, "SIGSYS"}};

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

/* Clients name files in the session's folder, and nothing else. */
static int file_argument(const TVMFFIAny* arguments, int count, char* path, size_t size, const char* folder) {
  char name[NAME_MAX + 2];
  int good = count == 1 && ffi_get_text(&arguments[0], name, sizeof name) == 0 && name[0] != '\0' &&
             strlen(name) <= NAME_MAX && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
  if (good && snprintf(path, size, "%s/%s", folder, name) < (int)size) return 0;
  TVMFFIErrorSetRaisedFromCStr("ValueError", "a file name must be a plain name: it stays in the session's folder");
  return -1;
}

static int work_path(void* folder, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  char path[PATH_MAX];
  if (file_argument(arguments, count, path, sizeof path, folder) != 0) return -1;
  TVMFFIByteArray bytes = {path, strlen(path)};
  return TVMFFIStringFromByteArray(&bytes, result);
}

static int load_module(void* folder, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  char path[PATH_MAX];
  if (file_argument(arguments, count, path, sizeof path, folder) != 0) return -1;
  return ffi_load_module(path, result);
}

static int describe_device(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  (void)self, (void)arguments, (void)count;
  char json[4096];
  device_info(json, sizeof json);
  TVMFFIByteArray bytes = {json, strlen(json)};
  return TVMFFIStringFromByteArray(&bytes, result);
}

static int describe_state(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  (void)self, (void)arguments, (void)count;
  static char text[256 * 1024];
  board_state(text, sizeof text);
  TVMFFIByteArray bytes = {text, strlen(text)};
  return TVMFFIStringFromByteArray(&bytes, result);
}

/* Called by TVM's time evaluator before each inference, outside of what it times. */
static int sample_board(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  (void)self, (void)arguments, (void)count;
  board_sample();
  *result = ffi_none();
  return 0;
}

static int serve_client(int socket, char* folder) {
  TVMFFIAny argument = ffi_int(socket), nothing;
  int failed = ffi_register("tvm.rpc.server.workpath", work_path, folder);
  failed |= ffi_register("tvm.rpc.server.load_module", load_module, folder);
  failed |= ffi_register("armature.device_info", describe_device, NULL);
  failed |= ffi_register("armature.board.state", describe_state, NULL);
  failed |= ffi_register("armature.board.sample", sample_board, NULL);
  if (failed == 0 && ffi_call_global("rpc.ServerLoop", &argument, 1, &nothing) == 0) return EXIT_DONE;
  log_line("session ended: %s", ffi_error());
  return EXIT_FAILED;
}

/* The session's process: dies with the agent, dumps no core, and starts in its folder. */
static _Noreturn void session_process(const Session* session, char* folder, pid_t agent) {
  struct rlimit no_core = {0, 0}, memory = {(rlim_t)session->memory_kib * 1024, (rlim_t)session->memory_kib * 1024};
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != agent) _exit(EXIT_FAILED);
  setrlimit(RLIMIT_CORE, &no_core);
  if (session->memory_kib > 0) setrlimit(RLIMIT_DATA, &memory); /* qemu-user ignores it: it would limit QEMU */
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (chdir(folder) != 0) _exit(EXIT_FAILED);
  _exit(serve_client(session->socket, folder));
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

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

typedef enum { ENDED, STOPPED, TIME_UP, MEMORY_FULL, CLIENT_GONE } Ending;

/* Whether the process must be killed, and why; `gone` is since when the client has hung up. A process that waits
 * for its client sees that itself, one that is busy does not: it would keep the board from everybody. */
static Ending must_end(const Session* session, pid_t process, double deadline, double gone) {
  if (session->interrupted()) return STOPPED;
  if (deadline > 0 && now() >= deadline) return TIME_UP;
  if (gone > 0 && now() >= gone + HANG_UP_SECONDS) return CLIENT_GONE;
  return session->memory_kib > 0 && resident_kib(process) > session->memory_kib ? MEMORY_FULL : ENDED;
}

/* Waits for the process to end, or kills it. */
static Ending wait_for(const Session* session, pid_t process, int* status, struct rusage* usage) {
  double deadline = session->seconds > 0 ? now() + session->seconds : 0, gone = 0;
  const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000}; /* a SIGCHLD ends it early */
  struct pollfd client = {.fd = session->socket, .events = POLLRDHUP};
  while (wait4(process, status, WNOHANG, usage) == 0) {
    Ending ending = must_end(session, process, deadline, gone);
    if (ending != ENDED) {
      kill(process, SIGKILL);
      wait4(process, status, 0, usage);
      return ending;
    }
    if (ppoll(&client, 1, &pause, session->wait_mask) > 0) {
      gone = now();
      client.fd = -1; /* only wait from now on */
    }
  }
  return ENDED;
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
  char message[128];
  if (ending == STOPPED) {
    snprintf(message, sizeof message, "the agent was stopped");
  } else if (ending == TIME_UP) {
    snprintf(message, sizeof message, "RPCSessionTimeoutError: session ended after %g s, its time limit", session->seconds);
  } else if (ending == CLIENT_GONE) {
    log_line("session ended: its client hung up while the library was running");
    return;
  } else if (ending == MEMORY_FULL || (WIFSIGNALED(status) && ran_out(session, usage))) {
    snprintf(message, sizeof message, "session ran out of memory: it had %ld MiB, allowed are %ld MiB",
             usage->ru_maxrss / 1024, session->memory_kib / 1024);
  } else if (WIFSIGNALED(status)) {
    snprintf(message, sizeof message, "session crashed: signal %d (%s)", WTERMSIG(status), signal_name(WTERMSIG(status)));
  } else {
    return;
  }
  log_line("%s", message);
  tell_client(session->socket, message);
}

void session_serve(const Session* session) {
  char folder[PATH_MAX];
  snprintf(folder, sizeof folder, "%s/session-XXXXXX", session->work_dir);
  if (mkdtemp(folder) == NULL) {
    log_line("%s: %s", session->work_dir, strerror(errno));
    close(session->socket);
    return;
  }
  pid_t agent = getpid(), process = fork();
  if (process == 0) session_process(session, folder, agent);
  if (process < 0) {
    log_line("fork: %s", strerror(errno));
  } else {
    int status = 0;
    struct rusage usage = {0};
    Ending ending = wait_for(session, process, &status, &usage);
    report(session, ending, status, &usage);
  }
  close(session->socket);
  remove_tree(folder);
}
