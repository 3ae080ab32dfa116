/* What a client may do with C libraries that it sent (docs/c-library.md), beside TVM's own modules. */
#ifndef ARMATURE_C_LIBRARY_CALLS_H_
#define ARMATURE_C_LIBRARY_CALLS_H_

/* Registers, for a session whose files lie in `folder`,
 *   armature.c_library.load(file, name) -> number      a library of the folder, whose functions begin with `name`
 *   armature.c_library.interface(number) -> lines      as interface.h has them
 *   armature.c_library.run(number, inputs..., outputs...)
 *   armature.c_library.time(number, seconds, inputs..., outputs...)
 * The last runs it once, and then as often as the float64 tensor `seconds` has elements, which get the time of each;
 * before each it looks at the board (board_state.h). Not 0 when it fails. */
int c_library_register(char* folder);

#endif
