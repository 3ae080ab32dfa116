/* What an Arm CPU must have, as Linux tells it. */
#include <sys/auxv.h>

typedef struct {
  unsigned long hwcap, hwcap2; /* bits of linux/arch/arm64/include/uapi/asm/hwcap.h */
} needs;

static int suits_cpu(const needs *needs) {
  return (getauxval(AT_HWCAP) & needs->hwcap) == needs->hwcap &&
         (getauxval(AT_HWCAP2) & needs->hwcap2) == needs->hwcap2;
}
