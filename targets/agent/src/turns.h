/* One agent at a time on a board, whoever started them, in the order of their coming. */
#ifndef ARMATURE_TURNS_H_
#define ARMATURE_TURNS_H_

/* Waits for this agent's turn, and logs how many are before it. Its place is kept until the process ends, however it
 * does. 0: it is our turn; -1: `must_stop` said so, or the queue is full. */
int turns_wait(int (*must_stop)(void));

#endif
