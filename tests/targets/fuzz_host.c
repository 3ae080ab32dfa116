/* What the agent reads of an ARM board, so that the rest of it runs on this machine under sanitizers. */
#include <stdio.h>

#include "agent.h"
#include "board_state.h"

void device_info(char* json, size_t size) {
  snprintf(json, size, "{\"agent\": \"%s\", \"arch\": \"aarch64\", \"features\": [], \"cpus\": 1}", AGENT_VERSION);
}

int info_main(int argc, char** argv) {
  (void)argc, (void)argv;
  return EXIT_USAGE;
}

void board_state(char* text, size_t size) { snprintf(text, size, "/proc/loadavg 0.0 0.0 0.0 1/1 1\n"); }

void board_sample(void) {}
