/* The five likeliest classes of an image, by a library that `compile mobilenet_v2 --format c-library` made.

     cc classify.c -I FOLDER -L FOLDER -lmobilenet_v2 -Wl,-rpath,FOLDER -o classify
     ./classify image.bin [THREADS]

   image.bin has the numbers that the network takes, as the manifest's "preprocess" makes them of an image. C99, and
   C++ as it is. */
#include "mobilenet_v2.h"

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what, int error) {
  fprintf(stderr, "%s: %s\n", what, mobilenet_v2_message(error));
  return 1;
}

static int read_numbers(const char *path, void *numbers, size_t size) {
  FILE *file = fopen(path, "rb");
  const size_t read = file == NULL ? 0 : fread(numbers, 1, size, file);
  if (file != NULL) fclose(file);
  if (read != size) fprintf(stderr, "%s: not %lu bytes that can be read\n", path, (unsigned long)size);
  return read == size;
}

static void print_likeliest(float *scores, size_t count) {
  int place;
  for (place = 0; place < 5; place++) {
    size_t best = 0, i;
    for (i = 1; i < count; i++)
      if (scores[i] > scores[best]) best = i;
    printf("%lu %f\n", (unsigned long)best, (double)scores[best]);
    scores[best] = -1e30f;
  }
}

int main(int count, char **arguments) {
  const mobilenet_v2_tensor *input = mobilenet_v2_input(0), *output = mobilenet_v2_output(0);
  float *image = (float *)malloc(input->size), *scores = (float *)malloc(output->size);
  mobilenet_v2_handle *network = NULL;
  mobilenet_v2_options options = {NULL, 0, 1, 0, NULL};
  mobilenet_v2_source source;
  mobilenet_v2_target target;
  int error;

  if (count < 2 || image == NULL || scores == NULL || !read_numbers(arguments[1], image, input->size)) return 2;
  if (count > 2) options.threads = atoi(arguments[2]);
  error = mobilenet_v2_create(&options, &network);
  if (error) return fail("create", error);

  source.data = image;
  source.size = input->size;
  target.data = scores;
  target.size = output->size;
  error = mobilenet_v2_run(network, &source, &target);
  if (error) return fail("run", error);
  print_likeliest(scores, output->size / sizeof(float));

  mobilenet_v2_destroy(network);
  free(image);
  free(scores);
  return 0;
}
