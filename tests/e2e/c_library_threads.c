/* Runs a library by one thread and by each other number, twice: all results are the same. */
#include HEADER

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_(left, right) left##right
#define JOIN(left, right) JOIN_(left, right)
#define NAME(name) JOIN(MODEL, name)
#define CONSTANT(name) JOIN(UPPER, name)

int main(void) {
  const NAME(_tensor) *input = NAME(_input)(0);
  NAME(_source) source[1];
  NAME(_target) first[CONSTANT(_OUTPUTS)], again[CONSTANT(_OUTPUTS)];
  float *image = malloc(input->size);
  for (size_t i = 0; i < input->size / sizeof(float); i++) image[i] = (float)(i * 7919 % 2001) / 1000 - 1;
  source[0].data = image;
  source[0].size = input->size;
  for (size_t i = 0; i < CONSTANT(_OUTPUTS); i++) {
    first[i].size = again[i].size = NAME(_output)(i)->size;
    first[i].data = malloc(first[i].size);
    again[i].data = malloc(first[i].size);
  }
  for (int threads = 1; threads <= CONSTANT(_THREADS); threads++) {
    NAME(_options) options = {.threads = threads};
    NAME(_handle) *handle;
    options.workspace_size = NAME(_workspace_size)(&options);
    options.workspace = aligned_alloc(CONSTANT(_WORKSPACE_ALIGNMENT), (options.workspace_size + 63) / 64 * 64);
    memset(options.workspace, 0xff, options.workspace_size); /* not a number, if it is read before it is written */
    if (NAME(_create)(&options, &handle)) return 1;
    if (NAME(_threads)(handle) != threads) return 2;
    for (int run = 0; run < 2; run++) {
      if (NAME(_run)(handle, source, threads == 1 && run == 0 ? first : again)) return 3;
      for (size_t i = 0; i < CONSTANT(_OUTPUTS) && (threads > 1 || run > 0); i++)
        if (memcmp(first[i].data, again[i].data, first[i].size)) return 4;
    }
    NAME(_destroy)(handle);
    free(options.workspace);
  }
  return CONSTANT(_THREADS) > 1 ? 0 : 5;
}
