/* The word that an agent and its clients share. It never stands on a command line, where all could read it. */
#ifndef ARMATURE_TOKEN_H_
#define ARMATURE_TOKEN_H_

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

enum { TOKEN_LEAST = 32, TOKEN_MOST = 256 };

typedef struct {
  size_t length; /* 0: there is none */
  char text[TOKEN_MOST + 2];
} Token;

/* From the file (NULL: that of $ARMATURE_TOKEN_FILE) or else $ARMATURE_TOKEN; none is no error. -1 where it
 * cannot be read, others may read it, or it is no token; the reason is logged. */
int token_find(const char* file, Token* token);

/* From one line of a file that is open, as it comes. */
int token_read_line(int fd, Token* token);

/* What `who` (an agent or a client) answers to prove that it has the token, to nonces of both sides. */
void token_proof(const Token* token, const char* who, const uint8_t* client_nonce, const uint8_t* agent_nonce,
                 uint8_t proof[SHA256_BYTES]);

#endif
