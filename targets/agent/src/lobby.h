/* Where clients are between their connection and their session: greeted, proved, and queued, all at a time,
 * so that none who is slow or silent keeps the others out.
 *
 * A client of TVM's RPC begins with RPC_MAGIC, the length of its key and its key; where a token is wanted it is
 * refused. Ours (targets/greeting.py) begins with
 *
 *   client  "ARM1", a nonce of 32 bytes
 *   agent   'O' (open), or 'T' (token wanted) and a nonce of 32 bytes
 *   client  its proof (32 bytes), where a token is wanted; then as TVM's client, at once
 *   agent   its proof (32 bytes), where a token is wanted; 'Q' and a byte: so many are before you, whenever that
 *           changes; 'G' when its turn has come, and as TVM's server from then on; or 'R' and a byte: refused
 *
 * In place of the key may stand a request, which is answered at once, whoever has the board: 'S', a length (32 bits,
 * little-endian) and what `describe` writes. `status` only asks; after `drain` no client is let in any more.
 */
#ifndef ARMATURE_LOBBY_H_
#define ARMATURE_LOBBY_H_

#include <poll.h>
#include <signal.h>
#include <stdint.h>

#include "sha256.h"
#include "token.h"

/* tvm/rpc/base.py: RPC_MAGIC and RPC_CODE_MISMATCH. */
enum { RPC_MAGIC = 0xFF271, RPC_MISMATCH = RPC_MAGIC + 2, MAX_KEY = 1024 };
enum { MAX_VISITORS = 16 };

/* What is read of a visitor next. */
typedef enum { HELLO, NONCE, PROOF, MAGIC, LENGTH, KEY, IS_WAITING } Piece;

typedef struct {
  int fd; /* -1: nobody */
  char from[80];
  long number;    /* the order of coming */
  double until;   /* when all must have been said */
  int is_ours;    /* speaks our greeting */
  int told;       /* the place in the queue that it was told; -1: none */
  Piece piece;
  size_t wanted, got;
  uint8_t bytes[MAX_KEY + 1];
  uint8_t client_nonce[SHA256_BYTES], nonce[SHA256_BYTES];
} Visitor;

typedef struct {
  int listener;
  const Token* token;
  int is_busy;    /* a session is going on */
  int is_drained; /* nobody is let in any more */
  void* server;   /* the argument of: */
  void (*describe)(void* server, char* text, size_t size);
  long count;
  Visitor visitors[MAX_VISITORS];
} Lobby;

void lobby_open(Lobby* lobby, int listener, const Token* token);

/* How many clients wait for their turn. */
int lobby_waiting(const Lobby* lobby);

/* Lets the signals of `mask` in, attends to the visitors, and waits until something happens to them, to `other` (may
 * be NULL), or the milliseconds are over. */
void lobby_wait(Lobby* lobby, struct pollfd* other, int milliseconds, const sigset_t* mask);

/* Whose turn it is: greeted, with the key in `bytes`; NULL: nobody's. The caller takes its fd, and sets it to -1. */
Visitor* lobby_next(Lobby* lobby);

/* Closes the sockets: also for a process that must not have them. */
void lobby_close(Lobby* lobby);

#endif
