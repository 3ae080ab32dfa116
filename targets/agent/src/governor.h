/* A governor of the clock for one session, at its client's request; what was there before comes back. */
#ifndef ARMATURE_GOVERNOR_H_
#define ARMATURE_GOVERNOR_H_

/* Before a session's process is made: what it changes is noted where its parent sees it. */
void governors_begin(void);

/* Registers, in that process, `armature.board.governor`, which takes a governor's name and sets it on the CPUs that the
 * process may run on. TVM's error where the kernel refuses. */
int governor_register(void);

/* Once that process is dead, however it ended: puts back what was there. */
void governors_end(void);

#endif
