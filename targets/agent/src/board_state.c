#include "board_state.h"

#include <glob.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CPUS = 256, ELF_MACHINE = 18, TIMER_READS = 1000 };

#define CPUS "/sys/devices/system/cpu/"
#define THERMAL "/sys/class/thermal/"

/* What is read: the lines of these files that begin so. The host knows what they mean. */
static const struct {
  const char *files, *line;
} kFacts[] = {
    {"/proc/sys/kernel/arch", ""},
    {"/proc/cpuinfo", "processor"},
    {"/proc/cpuinfo", "CPU implementer"},
    {"/proc/cpuinfo", "CPU part"},
    {"/proc/cpuinfo", "vendor_id"}, /* x86 only */
    {CPUS "online", ""},
    {CPUS "cpu[0-9]*/regs/identification/midr_el1", ""},
    {CPUS "cpu[0-9]*/cpufreq/scaling_governor", ""},
    {CPUS "cpu[0-9]*/cpufreq/scaling_cur_freq", ""},
    {CPUS "cpu[0-9]*/cpufreq/scaling_max_freq", ""},
    {CPUS "cpu[0-9]*/cpufreq/cpuinfo_min_freq", ""},
    {CPUS "cpu[0-9]*/cpufreq/cpuinfo_max_freq", ""},
    {THERMAL "thermal_zone[0-9]*/type", ""},
    {THERMAL "thermal_zone[0-9]*/temp", ""},
    {THERMAL "cooling_device[0-9]*/type", ""},
    {THERMAL "cooling_device[0-9]*/cur_state", ""},
    {"/sys/devices/platform/soc/soc:firmware/get_throttled", ""}, /* Raspberry Pi */
    {"/proc/device-tree/model", ""},
    {"/sys/class/dmi/id/sys_vendor", ""},
    {"/proc/self/task/*/status", "Cpus_allowed_list:"},
    {"/proc/self/stat", ""},
    {"/proc/stat", "cpu "},
    {"/proc/loadavg", ""},
    {"/proc/meminfo", "MemAvailable:"},
};

static struct {
  long times, least, most;
} samples[MAX_CPUS];

/* Appends a line; one that does not fit is left out whole. */
static void __attribute__((format(printf, 3, 4))) add(char* text, size_t size, const char* format, ...) {
  size_t length = strlen(text);
  va_list arguments;
  va_start(arguments, format);
  int more = vsnprintf(text + length, size - length, format, arguments);
  va_end(arguments);
  if (more < 0 || length + (size_t)more >= size) text[length] = '\0';
}

/* The lines of a file that begin with `wanted`. */
static void add_file(char* text, size_t size, const char* path, const char* wanted) {
  char line[512];
  FILE* file = fopen(path, "r");
  if (file == NULL) return;
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, wanted, strlen(wanted)) == 0) add(text, size, "%s %s\n", path, line);
  }
  fclose(file);
}

static void add_files(char* text, size_t size, const char* pattern, const char* wanted) {
  glob_t found;
  if (glob(pattern, 0, NULL, &found) != 0) return;
  for (size_t i = 0; i < found.gl_pathc; i++) add_file(text, size, found.gl_pathv[i], wanted);
  globfree(&found);
}

static void read_link(const char* path, char* target, size_t size) {
  ssize_t length = readlink(path, target, size - 1);
  target[length < 0 ? 0 : length] = '\0';
}

/* qemu-user shows a program its own name under /proc/self, but not under /proc/thread-self. */
static void add_programs(char* text, size_t size) {
  char target[1024];
  unsigned char head[ELF_MACHINE + 2] = {0};
  read_link("/proc/self/exe", target, sizeof target);
  add(text, size, "program %s\n", target);
  read_link("/proc/thread-self/exe", target, sizeof target);
  FILE* program = fopen("/proc/thread-self/exe", "rb");
  size_t got = program == NULL ? 0 : fread(head, 1, sizeof head, program);
  if (program != NULL) fclose(program);
  if (got == sizeof head) add(text, size, "kernel_program %s %d\n", target, head[ELF_MACHINE] | head[ELF_MACHINE + 1] << 8);
  if (getenv("ARMATURE_EMULATED") != NULL) add(text, size, "declared_emulated 1\n");
}

static unsigned long counter_hz(void) {
  unsigned long hz;
  __asm__("mrs %0, cntfrq_el0" : "=r"(hz));
  return hz;
}

static void add_folder(char* text, size_t size) {
  struct statvfs folder;
  if (statvfs(".", &folder) != 0) return;
  add(text, size, "folder_free %llu\n", (unsigned long long)folder.f_bavail * folder.f_frsize / 1024);
}

static long long nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* As it is seen: what clock_getres says is 1 ns whatever the timer does. */
static void add_timer(char* text, size_t size) {
  long long least = 0, before = nanoseconds();
  for (int i = 0; i < TIMER_READS; i++) {
    long long now = nanoseconds(), step = now - before;
    if (step > 0 && (least == 0 || step < least)) least = step;
    before = now;
  }
  add(text, size, "timer_ns %lld\n", least);
}

static void add_samples(char* text, size_t size) {
  for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
    if (samples[cpu].times == 0) continue;
    add(text, size, "ran %d %ld %ld %ld\n", cpu, samples[cpu].times, samples[cpu].least, samples[cpu].most);
  }
  memset(samples, 0, sizeof samples);
}

void board_state(char* text, size_t size) {
  text[0] = '\0';
  add_programs(text, size);
  add(text, size, "counter_hz %lu\n", counter_hz());
  add_samples(text, size);
  add_folder(text, size);
  add_timer(text, size);
  for (size_t i = 0; i < sizeof kFacts / sizeof kFacts[0]; i++) add_files(text, size, kFacts[i].files, kFacts[i].line);
}

static long clock_khz(int cpu) {
  char path[96];
  long khz = 0;
  snprintf(path, sizeof path, CPUS "cpu%d/cpufreq/scaling_cur_freq", cpu);
  FILE* file = fopen(path, "r");
  if (file == NULL) return 0;
  if (fscanf(file, "%ld", &khz) != 1) khz = 0;
  fclose(file);
  return khz;
}

void board_sample(void) {
  int cpu = sched_getcpu();
  if (cpu < 0 || cpu >= MAX_CPUS) return;
  long khz = clock_khz(cpu);
  if (samples[cpu].times++ == 0) samples[cpu].least = samples[cpu].most = khz;
  if (khz < samples[cpu].least) samples[cpu].least = khz;
  if (khz > samples[cpu].most) samples[cpu].most = khz;
}
