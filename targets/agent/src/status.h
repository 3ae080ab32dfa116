/* What an agent tells of itself to who asks, whoever has the board. */
#ifndef ARMATURE_STATUS_H_
#define ARMATURE_STATUS_H_

#include <stddef.h>

#include "session.h"

typedef struct {
  double since;    /* when the session began; 0: there is none */
  char client[80]; /* whose it is */
  long sessions;   /* so far */
  int waiting, is_drained;
  char last_error[LAST_ERROR]; /* of the last session that ended badly */
} Status;

void status_begin(Status* status, const char* client);
void status_end(Status* status);

/* Writes lines, `NAME VALUE`: `info` and the JSON of device_info, `client` and `busy_seconds` (while there is a session),
 * `sessions`, `waiting`, `drained 1`, `last_error`; then those of board_state.h. */
void status_write(const Status* status, char* text, size_t size);

#endif
