#include "status.h"

#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "board_state.h"

void status_begin(Status* status, const char* client) {
  status->since = seconds_now();
  status->sessions++;
  snprintf(status->client, sizeof status->client, "%s", client);
}

void status_end(Status* status) { status->since = 0; }

void status_write(const Status* status, char* text, size_t size) {
  char info[4096];
  device_info(info, sizeof info);
  snprintf(text, size, "info %s\nsessions %ld\nwaiting %d\n", info, status->sessions, status->waiting);
  size_t length = strlen(text);
  if (status->since > 0) {
    snprintf(text + length, size - length, "client %s\nbusy_seconds %.1f\n", status->client, seconds_now() - status->since);
  }
  length = strlen(text);
  if (status->is_drained) snprintf(text + length, size - length, "drained 1\n");
  length = strlen(text);
  if (status->last_error[0] != '\0') snprintf(text + length, size - length, "last_error %s\n", status->last_error);
  length = strlen(text);
  board_state(text + length, size - length);
}
