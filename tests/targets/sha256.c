/* The agent's SHA-256 of standard input, and its HMAC with the key of the first argument. */
#include "sha256.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print(const uint8_t digest[SHA256_BYTES]) {
  for (int i = 0; i < SHA256_BYTES; i++) printf("%02x", digest[i]);
  puts("");
}

int main(int argc, char** argv) {
  Sha256 hash;
  Hmac mac;
  uint8_t bytes[37], digest[SHA256_BYTES]; /* a size that is no part of a block's */
  ssize_t count;
  if (argc != 2) return 2;
  sha256_start(&hash);
  hmac_start(&mac, argv[1], strlen(argv[1]));
  while ((count = read(STDIN_FILENO, bytes, sizeof bytes)) > 0) {
    sha256_add(&hash, bytes, (size_t)count);
    hmac_add(&mac, bytes, (size_t)count);
  }
  sha256_end(&hash, digest);
  print(digest);
  hmac_end(&mac, digest);
  print(digest);
  return 0;
}
