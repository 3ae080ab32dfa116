/* Keeps a session on chosen CPUs. */
#ifndef ARMATURE_PIN_H_
#define ARMATURE_PIN_H_

#include <tvm/ffi/c_api.h>

/* Registers `armature.board.pin`, which takes the numbers of CPUs: on these alone every thread of this process runs
 * from then on, and every thread that it makes. TVM's error where the kernel refuses. */
int pin_register(void);

#endif
