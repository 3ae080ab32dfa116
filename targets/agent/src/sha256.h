/* SHA-256 (FIPS 180-4) and HMAC of it (RFC 2104). */
#ifndef ARMATURE_SHA256_H_
#define ARMATURE_SHA256_H_

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_BLOCK = 64 };

typedef struct {
  uint32_t state[8];
  uint64_t bytes;
  uint8_t block[SHA256_BLOCK];
} Sha256;

void sha256_start(Sha256* hash);
void sha256_add(Sha256* hash, const void* bytes, size_t count);
void sha256_end(Sha256* hash, uint8_t digest[SHA256_BYTES]);

typedef struct {
  Sha256 inner, outer;
} Hmac;

void hmac_start(Hmac* mac, const void* key, size_t count);
void hmac_add(Hmac* mac, const void* bytes, size_t count);
void hmac_end(Hmac* mac, uint8_t digest[SHA256_BYTES]);

/* Whether two buffers are equal, in a time that does not tell where they differ. */
int same_bytes(const uint8_t* one, const uint8_t* other, size_t count);

#endif
