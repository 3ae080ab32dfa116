/* What an Arm CPU must have, as Linux tells it. */
#include <sys/auxv.h>

typedef struct {
  unsigned long hwcap, hwcap2; /* bits of linux/arch/arm64/include/uapi/asm/hwcap.h, or of arm's */
} needs;

static int suits_cpu(const needs *needs) {
  return (getauxval(AT_HWCAP) & needs->hwcap) == needs->hwcap &&
         (getauxval(AT_HWCAP2) & needs->hwcap2) == needs->hwcap2;
}

/* The implementer and part number of a CPU, as its MIDR_EL1 has them; 0 if Linux tells neither there nor of this
   CPU. */
#if defined(__aarch64__)
static unsigned part_of(int cpu) {
  const unsigned long readable = 1UL << 11; /* HWCAP_CPUID */
  long midr = cpu_number(cpu, "regs/identification/midr_el1");
  if (midr <= 0 && getauxval(AT_HWCAP) & readable) __asm__("mrs %0, midr_el1" : "=r"(midr));
  return midr <= 0 ? 0 : (unsigned)(midr >> 24 & 0xff) << 12 | (unsigned)(midr >> 4 & 0xfff);
}
#else
/* With 32 bits, Linux tells them in words alone. */
#ifndef CPUINFO
#define CPUINFO "/proc/cpuinfo"
#endif
static unsigned part_of(int cpu) {
  char text[8192]; /* of eight CPUs, about 3000 are needed */
  size_t length = 0;
  long implementer = 0, part = 0;
  int here = 0;
  const int opened = open(CPUINFO, O_RDONLY | O_CLOEXEC);
  if (opened < 0) return 0;
  for (ssize_t more; (more = read(opened, text + length, sizeof text - 1 - length)) > 0;) length += (size_t)more;
  close(opened);
  text[length] = '\0';
  for (const char *line = text, *colon; (colon = strchr(line, ':'));) {
    const long number = strtol(colon + 1, NULL, 0);
    if (strncmp(line, "processor", 9) == 0) here = number == cpu;
    if (here && strncmp(line, "CPU implementer", 15) == 0) implementer = number;
    if (here && strncmp(line, "CPU part", 8) == 0) part = number;
    line = strchr(line, '\n');
    if (line++ == NULL) break;
  }
  return (unsigned)implementer << 12 | (unsigned)part;
}
#endif

/* Those of one of the fastest CPUs. */
static unsigned fastest_part(void) {
  cpu_set_t set;
  int cpu = 0;
  if (fastest_cpus(&set))
    while (!CPU_ISSET(cpu, &set)) cpu++;
  return part_of(cpu);
}
