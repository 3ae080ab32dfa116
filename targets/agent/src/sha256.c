#include "sha256.h"

#include <string.h>

/* FIPS 180-4, section 4.2.2. */
static const uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

static void put_big_endian(uint8_t* bytes, uint64_t value, int count) {
  for (int i = 0; i < count; i++) bytes[i] = (uint8_t)(value >> (8 * (count - 1 - i)));
}

/* Section 6.2.2. */
static void mix(uint32_t state[8], const uint8_t block[SHA256_BLOCK]) {
  uint32_t words[64], now[8];
  for (int i = 0; i < 16; i++) {
    const uint8_t* word = block + 4 * i;
    words[i] = (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 | (uint32_t)word[2] << 8 | word[3];
  }
  for (int i = 16; i < 64; i++) {
    uint32_t early = words[i - 15], late = words[i - 2];
    uint32_t small = rotated(early, 7) ^ rotated(early, 18) ^ early >> 3;
    uint32_t large = rotated(late, 17) ^ rotated(late, 19) ^ late >> 10;
    words[i] = words[i - 16] + small + words[i - 7] + large;
  }
  memcpy(now, state, sizeof now);
  for (int i = 0; i < 64; i++) {
    uint32_t a = now[0], e = now[4];
    uint32_t choice = (e & now[5]) ^ (~e & now[6]), majority = (a & now[1]) ^ (a & now[2]) ^ (now[1] & now[2]);
    uint32_t first = now[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + choice + kRound[i] + words[i];
    uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + majority;
    memmove(now + 1, now, 7 * sizeof now[0]);
    now[4] += first;
    now[0] = first + second;
  }
  for (int i = 0; i < 8; i++) state[i] += now[i];
}

void sha256_start(Sha256* hash) {
  static const uint32_t kStart[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}; /* section 5.3.3 */
  memcpy(hash->state, kStart, sizeof kStart);
  hash->bytes = 0;
}

void sha256_add(Sha256* hash, const void* bytes, size_t count) {
  const uint8_t* next = bytes;
  while (count > 0) {
    size_t used = hash->bytes % SHA256_BLOCK, taken = SHA256_BLOCK - used < count ? SHA256_BLOCK - used : count;
    memcpy(hash->block + used, next, taken);
    hash->bytes += taken;
    next += taken;
    count -= taken;
    if (used + taken == SHA256_BLOCK) mix(hash->state, hash->block);
  }
}

void sha256_end(Sha256* hash, uint8_t digest[SHA256_BYTES]) {
  static const uint8_t kPadding[SHA256_BLOCK] = {0x80};
  uint8_t length[8];
  put_big_endian(length, hash->bytes * 8, 8);
  size_t used = hash->bytes % SHA256_BLOCK;
  sha256_add(hash, kPadding, used < 56 ? 56 - used : 120 - used);
  sha256_add(hash, length, sizeof length);
  for (int i = 0; i < 8; i++) put_big_endian(digest + 4 * i, hash->state[i], 4);
}

void hmac_start(Hmac* mac, const void* key, size_t count) {
  uint8_t padded[SHA256_BLOCK] = {0}, inner[SHA256_BLOCK], outer[SHA256_BLOCK];
  if (count > SHA256_BLOCK) {
    sha256_start(&mac->inner);
    sha256_add(&mac->inner, key, count);
    sha256_end(&mac->inner, padded);
  } else {
    memcpy(padded, key, count);
  }
  for (int i = 0; i < SHA256_BLOCK; i++) {
    inner[i] = padded[i] ^ 0x36;
    outer[i] = padded[i] ^ 0x5c;
  }
  sha256_start(&mac->inner);
  sha256_add(&mac->inner, inner, sizeof inner);
  sha256_start(&mac->outer);
  sha256_add(&mac->outer, outer, sizeof outer);
}

void hmac_add(Hmac* mac, const void* bytes, size_t count) { sha256_add(&mac->inner, bytes, count); }

void hmac_end(Hmac* mac, uint8_t digest[SHA256_BYTES]) {
  sha256_end(&mac->inner, digest);
  sha256_add(&mac->outer, digest, SHA256_BYTES);
  sha256_end(&mac->outer, digest);
}

int same_bytes(const uint8_t* one, const uint8_t* other, size_t count) {
  volatile uint8_t different = 0;
  for (size_t i = 0; i < count; i++) different |= one[i] ^ other[i];
  return different == 0;
}
