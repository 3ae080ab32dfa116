/* What an x86-64 CPU must have, as it tells itself. */
#include <cpuid.h>

typedef struct {
  unsigned xcr0; /* the registers that the operating system must save */
  size_t count;
  /* Registers of CPUID, EAX to EDX being 0 to 3, and the bits that must be set there. */
  struct {
    unsigned leaf, which, bits;
  } set[8];
} needs;

static int suits_cpu(const needs *needs) {
  for (size_t i = 0; i < needs->count; i++) {
    unsigned found[4];
    if (!__get_cpuid_count(needs->set[i].leaf, 0, &found[0], &found[1], &found[2], &found[3])) return 0;
    if ((found[needs->set[i].which] & needs->set[i].bits) != needs->set[i].bits) return 0;
  }
  if (needs->xcr0) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & needs->xcr0) != needs->xcr0) return 0;
  }
  return 1;
}

/* A library for x86-64 has one core's kernels: there is nothing to choose. */
static unsigned fastest_part(void) { return 0; }
