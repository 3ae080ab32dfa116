#include "pin.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ffi.h"

static int refuse(const char* why) {
  char message[128];
  snprintf(message, sizeof message, "CPUs cannot be chosen: %s", why);
  TVMFFIErrorSetRaisedFromCStr("ValueError", message);
  return -1;
}

/* Of all threads: a runtime that was loaded may have made some. Those that end meanwhile do not matter. */
static int pin_threads(const cpu_set_t* set) {
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == NULL) return sched_setaffinity(0, sizeof *set, set);
  int failed = 0;
  for (struct dirent* entry; failed == 0 && (entry = readdir(tasks)) != NULL;) {
    pid_t thread = (pid_t)atol(entry->d_name);
    if (thread > 0 && sched_setaffinity(thread, sizeof *set, set) != 0 && errno != ESRCH) failed = errno;
  }
  closedir(tasks);
  errno = failed;
  return failed == 0 ? 0 : -1;
}

/* TVM's runtime would bind its threads to CPUs of its own choice, and make one for each that is online unless told. */
static void tell_runtime(int cpus) {
  char count[16];
  snprintf(count, sizeof count, "%d", cpus);
  setenv("TVM_BIND_THREADS", "0", 1);
  setenv("TVM_NUM_THREADS", count, 0);
}

static int pin(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  (void)self;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < count; i++) {
    const TVMFFIAny* cpu = &arguments[i];
    if (cpu->type_index != kTVMFFIInt || cpu->v_int64 < 0 || cpu->v_int64 >= CPU_SETSIZE) return refuse("no such CPU");
    CPU_SET((size_t)cpu->v_int64, &set);
  }
  if (pin_threads(&set) != 0) return refuse(strerror(errno));
  tell_runtime(CPU_COUNT(&set));
  *result = ffi_none();
  return 0;
}

int pin_register(void) { return ffi_register("armature.board.pin", pin, NULL); }
