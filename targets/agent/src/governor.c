#include "governor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent.h"
#include "ffi.h"

enum { MAX_CPUS = 256, NAME = 16 }; /* the kernel's CPUFREQ_NAME_LEN */

/* For each CPU the governor that was there; empty where it was not changed. Shared by the agent and the session. */
static char (*was)[NAME];

void governors_begin(void) {
  void* memory = mmap(NULL, MAX_CPUS * sizeof *was, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  was = memory == MAP_FAILED ? NULL : memory;
}

static int open_governor(int cpu, int flags) {
  char path[96];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
  return open(path, flags | O_CLOEXEC);
}

static int read_governor(int cpu, char name[NAME]) {
  int file = open_governor(cpu, O_RDONLY);
  ssize_t length = file < 0 ? -1 : read(file, name, NAME - 1);
  if (file >= 0) close(file);
  name[length < 0 ? 0 : length] = '\0';
  name[strcspn(name, "\n")] = '\0';
  return name[0] == '\0' ? -1 : 0;
}

static int write_governor(int cpu, const char* name) {
  int file = open_governor(cpu, O_WRONLY | O_TRUNC);
  if (file < 0) return -1;
  ssize_t written = write(file, name, strlen(name));
  int cause = errno;
  close(file);
  errno = cause;
  return written < 0 ? -1 : 0;
}

static int refuse(int cpu, const char* why, const char* remedy) {
  char message[192];
  snprintf(message, sizeof message, "cpu %d: %s: %s", cpu, why, remedy);
  TVMFFIErrorSetRaisedFromCStr("ValueError", message);
  return -1;
}

static const char kAsRoot[] = "it usually takes root, so start the agent as root, or set the governor there by hand";

/* CPUs of a cluster share one governor: the others have it then already. */
static int change(int cpu, const char* wanted) {
  char now[NAME];
  if (read_governor(cpu, now) != 0) return refuse(cpu, "its kernel tells no governor", "measure without");
  if (strcmp(now, wanted) == 0) return 0;
  int is_first = was[cpu][0] == '\0';
  if (is_first) memcpy(was[cpu], now, NAME); /* before it is changed: this process may die at any time */
  if (write_governor(cpu, wanted) == 0) return 0;
  if (is_first) was[cpu][0] = '\0';
  return refuse(cpu, strerror(errno), kAsRoot);
}

static int set_governor(void* self, const TVMFFIAny* arguments, int32_t count, TVMFFIAny* result) {
  (void)self;
  char wanted[NAME];
  cpu_set_t mask;
  if (was == NULL || count != 1 || ffi_get_text(arguments, wanted, sizeof wanted) != 0 ||
      sched_getaffinity(0, sizeof mask, &mask) != 0) {
    return refuse(0, "no governor is named, or no memory is there", "measure without");
  }
  for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
    if (CPU_ISSET((size_t)cpu, &mask) && change(cpu, wanted) != 0) return -1;
  }
  *result = ffi_none();
  return 0;
}

int governor_register(void) { return ffi_register("armature.board.governor", set_governor, NULL); }

void governors_end(void) {
  if (was == NULL) return;
  for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
    char name[NAME];
    memcpy(name, was[cpu], NAME);
    name[NAME - 1] = '\0'; /* the session could write there */
    if (name[0] == '\0') continue;
    int failed = write_governor(cpu, name) != 0;
    log_line("cpu %d: governor %s %s", cpu, name, failed ? strerror(errno) : "is back");
  }
  munmap(was, MAX_CPUS * sizeof *was);
  was = NULL;
}
