/* Runs a library of one input as often as the argument says, and does nothing else that varies with that. */
#include HEADER

#include <stdlib.h>

#define JOIN_(left, right) left##right
#define JOIN(left, right) JOIN_(left, right)
#define NAME(name) JOIN(MODEL, name)
#define CONSTANT(name) JOIN(UPPER, name)

int main(int count, char **arguments) {
  NAME(_source) source;
  NAME(_target) targets[CONSTANT(_OUTPUTS)];
  NAME(_handle) *handle;
  int run;
  size_t i;
  source.size = NAME(_input)(0)->size;
  source.data = calloc(1, source.size);
  for (i = 0; i < CONSTANT(_OUTPUTS); i++) {
    targets[i].size = NAME(_output)(i)->size;
    targets[i].data = malloc(targets[i].size);
  }
  if (NAME(_create)(NULL, &handle)) return 1;
  for (run = atoi(arguments[count - 1]); run > 0; run--)
    if (NAME(_run)(handle, &source, targets)) return 2;
  return NAME(_destroy)(handle);
}
