/* What this CPU is and can do, from the kernel's hardware capabilities. */
#include <asm/hwcap.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "agent.h"

/* Bits of linux/arch/arm64/include/uapi/asm/hwcap.h that older headers lack. */
#ifndef HWCAP2_I8MM
#define HWCAP2_I8MM (1UL << 13)
#endif
#ifndef HWCAP2_BF16
#define HWCAP2_BF16 (1UL << 14)
#endif

/* The names of targets/cores.py; a feature is there when all its bits are. */
static const struct {
  const char* name;
  unsigned long hwcap, hwcap2;
} kFeatures[] = {
    {"crc", HWCAP_CRC32, 0},
    {"lse", HWCAP_ATOMICS, 0},
    {"rdm", HWCAP_ASIMDRDM, 0},
    {"fp16", HWCAP_FPHP | HWCAP_ASIMDHP, 0},
    {"dotprod", HWCAP_ASIMDDP, 0},
    {"i8mm", 0, HWCAP2_I8MM},
    {"bf16", 0, HWCAP2_BF16},
    {"sve", HWCAP_SVE, 0},
    {"sve2", 0, HWCAP2_SVE2},
};

static void append(char* text, size_t size, const char* more) {
  size_t length = strlen(text);
  snprintf(text + length, size - length, "%s", more);
}

static void append_features(char* json, size_t size) {
  unsigned long hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
  const char* separator = "\"";
  for (size_t i = 0; i < sizeof kFeatures / sizeof kFeatures[0]; i++) {
    if ((hwcap & kFeatures[i].hwcap) != kFeatures[i].hwcap) continue;
    if ((hwcap2 & kFeatures[i].hwcap2) != kFeatures[i].hwcap2) continue;
    append(json, size, separator);
    append(json, size, kFeatures[i].name);
    append(json, size, "\"");
    separator = ", \"";
  }
}

/* The part numbers (0xd08 is a Cortex-A72) of the CPUs, in the kernel's order. */
static void append_cpu_parts(char* json, size_t size) {
  FILE* cpuinfo = fopen("/proc/cpuinfo", "r");
  if (cpuinfo == NULL) return;
  char line[256];
  unsigned part;
  const char* format = "\"0x%03x\"";
  while (fgets(line, sizeof line, cpuinfo) != NULL) {
    if (sscanf(line, "CPU part : %x", &part) != 1) continue;
    char quoted[16];
    snprintf(quoted, sizeof quoted, format, part);
    append(json, size, quoted);
    format = ", \"0x%03x\"";
  }
  fclose(cpuinfo);
}

void device_info(char* json, size_t size) {
  snprintf(json, size, "{\"agent\": \"%s\", \"build\": \"%s\", \"runtime\": \"%s\", \"arch\": \"aarch64\", \"features\": [", AGENT_VERSION, AGENT_BUILD,
           RUNTIME_VERSION);
  append_features(json, size);
  append(json, size, "], \"cpus\": ");
  char count[32];
  snprintf(count, sizeof count, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
  append(json, size, count);
  append(json, size, ", \"cpu_parts\": [");
  append_cpu_parts(json, size);
  append(json, size, "]}");
}

int info_main(int argc, char** argv) {
  (void)argv;
  if (argc > 1) {
    fprintf(stderr, "info takes no arguments; it prints what this CPU is as JSON\n");
    return EXIT_USAGE;
  }
  char json[4096];
  device_info(json, sizeof json);
  puts(json);
  return EXIT_DONE;
}
