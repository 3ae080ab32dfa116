#include "session_process.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "board_state.h"
#include "c_library_calls.h"
#include "ffi.h"
#include "governor.h"
#include "pin.h"

int session_file(const TVMFFIAny* argument, const char* folder, char* path, size_t size) {
  char name[NAME_MAX + 2];
  int good = argument != NULL && ffi_get_text(argument, name, sizeof name) == 0 && name[0] != '\0' &&
             strlen(name) <= NAME_MAX && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
  good = good && snprintf(path, size, "%s/%s", folder, name) < (int)size;
  struct stat status;
  if (good && (lstat(path, &status) != 0 || S_ISREG(status.st_mode))) return 0; /* a new file, or one that is no link */
  TVMFFIErrorSetRaisedFromCStr("ValueError", "a file name must be a plain name: it stays in the session's folder");
  return -1;
}

static int work_path(void* folder, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  char path[PATH_MAX];
  if (session_file(count == 1 ? arguments : NULL, folder, path, sizeof path) != 0) return -1;
  TVMFFIByteArray bytes = {path, strlen(path)};
  return TVMFFIStringFromByteArray(&bytes, result);
}

static int load_module(void* folder, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  char path[PATH_MAX];
  if (session_file(count == 1 ? arguments : NULL, folder, path, sizeof path) != 0) return -1;
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
  failed |= pin_register();
  failed |= governor_register();
  failed |= c_library_register(folder);
  if (failed == 0 && ffi_call_global("rpc.ServerLoop", &argument, 1, &nothing) == 0) return EXIT_DONE;
  log_line("session ended: %s", ffi_error());
  return EXIT_FAILED;
}

static void limit(int resource, long kib) {
  struct rlimit limit = {(rlim_t)kib * 1024, (rlim_t)kib * 1024};
  setrlimit(resource, &limit);
}

static void close_stdin(void) {
  int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
}

_Noreturn void session_process(const Session* session, char* folder, pid_t agent) {
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != agent) _exit(EXIT_FAILED);
  session->forget(session->server);
  close_stdin();
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  limit(RLIMIT_CORE, 0);
  if (session->disk_kib > 0) limit(RLIMIT_FSIZE, session->disk_kib);
  if (session->memory_kib > 0) limit(RLIMIT_DATA, session->memory_kib); /* qemu-user ignores it: it would limit QEMU */
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  signal(SIGCHLD, SIG_DFL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (chdir(folder) != 0) _exit(EXIT_FAILED);
  _exit(serve_client(session->socket, folder));
}
