/* What ends an agent: a signal, another parent, or a standard input that is at its end or silent. */
#ifndef ARMATURE_LIFELINE_H_
#define ARMATURE_LIFELINE_H_

#include <signal.h>
#include <sys/types.h>

/* From now on. A process of `parent` only (0: any); with_stdin: whoever holds the other end of standard input writes
 * now and then. Signals come only while we wait for something, with the mask `wait_mask`, so that none is lost
 * between a check and a wait. */
void lifeline_hold(pid_t parent, int with_stdin, sigset_t* wait_mask);

/* Whether the agent must end now. */
int lifeline_is_cut(void);

#endif
