/* A program whose memory accesses are known: MODE START STRIDE COUNT REPEATS. */
#include <arm_neon.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 4 << 20 };
static unsigned char data[BYTES] __attribute__((aligned(1 << 20)));

/* Reads or writes 16 bytes at `start`, and every `stride` bytes after it, `count` times. */
static void read_steps(size_t start, size_t stride, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint8x16_t value = vld1q_u8(data + start + i * stride);
    __asm__ volatile("" : : "w"(value));
  }
}

static void write_steps(size_t start, size_t stride, size_t count) {
  for (size_t i = 0; i < count; i++) {
    vst1q_u8(data + start + i * stride, vdupq_n_u8(1));
    __asm__ volatile("" : : : "memory");
  }
}

static void count_down(long steps) {
  __asm__ volatile("1: subs %0, %0, #1\n b.ne 1b" : "+r"(steps) : : "cc");
}

int main(int argc, char** argv) {
  if (argc < 6) return 3;
  const char* mode = argv[1];
  size_t start = strtoul(argv[2], NULL, 10), stride = strtoul(argv[3], NULL, 10), count = strtoul(argv[4], NULL, 10);
  long repeats = strtol(argv[5], NULL, 10);
  for (long i = 0; i < repeats; i++) {
    if (strcmp(mode, "read") == 0) read_steps(start, stride, count);
    if (strcmp(mode, "write") == 0) write_steps(start, stride, count);
    if (strcmp(mode, "count") == 0) count_down((long)count);
    if (strcmp(mode, "crash") == 0) *(volatile int*)8 = 1;
    if (strcmp(mode, "hang") == 0) i--;
  }
  return 0;
}
