/* What the board is like while a network is timed: its CPUs, clocks, heat, and the load of others. */
#ifndef ARMATURE_BOARD_STATE_H_
#define ARMATURE_BOARD_STATE_H_

#include <stddef.h>

/* Writes facts as lines, `NAME VALUE`, and forgets the samples. The names are files of the kernel, or
 *   program PATH                   this program, as it is told
 *   kernel_program PATH MACHINE    the same as the kernel has it, and the ELF machine of it: an emulator differs
 *   declared_emulated 1            whoever started it says so ($ARMATURE_EMULATED)
 *   counter_hz N                   of the generic timer
 *   ran CPU TIMES KHZ KHZ          samples taken on that CPU, the lowest and the highest clock (0: unknown)
 *   folder_free KIB                where this process stores files
 *   timer_ns N                     the smallest step of the clock that times are taken by
 */
void board_state(char* text, size_t size);

/* Notes on which CPU the caller runs, and at what clock. Meant for between two inferences. */
void board_sample(void);

#endif
