/* The peak resident memory of a process, in bytes: of one that runs a network once, where HEADER, MODEL and
   UPPER say which library it is linked with, or of one that does nothing. */
#include <stdio.h>
#include <stdlib.h>

#ifdef HEADER
#include HEADER
#define JOIN_(left, right) left##right
#define JOIN(left, right) JOIN_(left, right)
#define NAME(name) JOIN(MODEL, name)
#define CONSTANT(name) JOIN(UPPER, name)

static int work(void) {
  NAME(_source) sources[CONSTANT(_INPUTS)];
  NAME(_target) targets[CONSTANT(_OUTPUTS)];
  NAME(_handle) *handle;
  size_t i;
  for (i = 0; i < CONSTANT(_INPUTS); i++) {
    sources[i].size = NAME(_input)(i)->size;
    sources[i].data = calloc(1, sources[i].size);
  }
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) {
    targets[i].size = NAME(_output)(i)->size;
    targets[i].data = calloc(1, targets[i].size);
  }
  if (NAME(_create)(NULL, &handle) || NAME(_run)(handle, sources, targets)) return 1;
  return NAME(_destroy)(handle);
}
#else
static int work(void) { return 0; }
#endif

int main(void) {
  char line[256];
  unsigned long kilobytes;
  FILE *status;
  int failed = work();
  status = fopen("/proc/self/status", "r");
  if (failed || status == NULL) return 1;
  while (fgets(line, sizeof line, status) != NULL)
    if (sscanf(line, "VmHWM: %lu kB", &kilobytes) == 1) printf("%lu\n", 1024 * kilobytes);
  return fclose(status);
}
