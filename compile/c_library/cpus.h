/* The fastest CPUs of the machine, as Linux describes them. All of it is static. */
#ifndef ARMATURE_CPUS_H
#define ARMATURE_CPUS_H

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number in a file about a CPU; 0 if there is none, -1 if there is no such file. */
static long cpu_number(int cpu, const char *file) {
  char text[64];
  snprintf(text, sizeof text, "/sys/devices/system/cpu/cpu%d/%s", cpu, file);
  const int opened = open(text, O_RDONLY | O_CLOEXEC);
  if (opened < 0) return -1;
  const ssize_t length = read(opened, text, sizeof text - 1);
  close(opened);
  text[length > 0 ? length : 0] = '\0';
  return strtol(text, NULL, 0);
}

/* Puts the CPUs of the highest number in `file` into the set; returns how many. */
static int cpus_with_most(const char *file, cpu_set_t *set) {
  long best = 1;
  int found = 0;
  CPU_ZERO(set);
  for (int cpu = 0; cpu < CPU_SETSIZE && cpu_number(cpu, "uevent") >= 0; cpu++) {
    const long number = cpu_number(cpu, file);
    if (number > best) {
      best = number;
      found = 0;
      CPU_ZERO(set);
    }
    if (number == best) {
      CPU_SET(cpu, set);
      found++;
    }
  }
  return found;
}

/* Puts the fastest CPUs into the set; returns how many, 0 if they cannot be told. */
static int fastest_cpus(cpu_set_t *set) {
  const int found = cpus_with_most("cpu_capacity", set);
  return found ? found : cpus_with_most("cpufreq/cpuinfo_max_freq", set);
}

/* Lets the calling thread, and those it creates, run on the fastest CPUs alone; returns how many those are, 0 if
   they could not be told or chosen. */
static int pin_to_fastest(void) {
  cpu_set_t set;
  const int found = fastest_cpus(&set);
  return found && sched_setaffinity(0, sizeof set, &set) == 0 ? found : 0;
}

#endif
