/* What an Arm CPU must have, as Linux tells it. */
#include <sys/auxv.h>

typedef struct {
  unsigned long hwcap, hwcap2; /* bits of linux/arch/arm64/include/uapi/asm/hwcap.h */
} needs;

static int suits_cpu(const needs *needs) {
  return (getauxval(AT_HWCAP) & needs->hwcap) == needs->hwcap &&
         (getauxval(AT_HWCAP2) & needs->hwcap2) == needs->hwcap2;
}

/* The implementer and part number of one of the fastest CPUs, as its MIDR_EL1 has them; 0 if Linux tells neither
   there nor of this CPU. */
static unsigned fastest_part(void) {
  const unsigned long readable = 1UL << 11; /* HWCAP_CPUID */
  cpu_set_t set;
  int cpu = 0;
  if (fastest_cpus(&set))
    while (!CPU_ISSET(cpu, &set)) cpu++;
  long midr = cpu_number(cpu, "regs/identification/midr_el1");
  if (midr <= 0 && getauxval(AT_HWCAP) & readable) __asm__("mrs %0, midr_el1" : "=r"(midr));
  return midr <= 0 ? 0 : (unsigned)(midr >> 24 & 0xff) << 12 | (unsigned)(midr >> 4 & 0xfff);
}
