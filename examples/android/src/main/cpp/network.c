/* The native half of Network.kt. Buffers are direct: the network reads and writes the application's memory. */
#include <jni.h>

#include "mobilenet_v2.h"

static mobilenet_v2_handle *handle_of(jlong handle) { return (mobilenet_v2_handle *)(intptr_t)handle; }

static void throw_error(JNIEnv *environment, int error) {
  const char *kind = "java/lang/IllegalStateException";
  (*environment)->ThrowNew(environment, (*environment)->FindClass(environment, kind), mobilenet_v2_message(error));
}

JNIEXPORT jlong JNICALL Java_armature_example_Network_create(JNIEnv *environment, jobject self, jint threads) {
  mobilenet_v2_options options = {.threads = threads, .pin = threads > 1};
  mobilenet_v2_handle *handle;
  const int error = mobilenet_v2_create(&options, &handle);
  (void)self;
  if (error) throw_error(environment, error);
  return (jlong)(intptr_t)handle;
}

JNIEXPORT void JNICALL Java_armature_example_Network_run(JNIEnv *environment, jobject self, jlong handle,
                                                         jobject input, jobject output) {
  /* A buffer that is not direct has no address, and its capacity is -1: the library says which of the two. */
  const mobilenet_v2_source source = {(*environment)->GetDirectBufferAddress(environment, input),
                                      (size_t)(*environment)->GetDirectBufferCapacity(environment, input)};
  const mobilenet_v2_target target = {(*environment)->GetDirectBufferAddress(environment, output),
                                      (size_t)(*environment)->GetDirectBufferCapacity(environment, output)};
  const int error = mobilenet_v2_run(handle_of(handle), &source, &target);
  (void)self;
  if (error) throw_error(environment, error);
}

JNIEXPORT void JNICALL Java_armature_example_Network_destroy(JNIEnv *environment, jobject self, jlong handle) {
  const int error = mobilenet_v2_destroy(handle_of(handle));
  (void)self;
  if (error) throw_error(environment, error);
}

JNIEXPORT jlong JNICALL Java_armature_example_Network_inputBytes(JNIEnv *environment, jobject self) {
  (void)environment;
  (void)self;
  return (jlong)mobilenet_v2_input(0)->size;
}

JNIEXPORT jlong JNICALL Java_armature_example_Network_outputBytes(JNIEnv *environment, jobject self) {
  (void)environment;
  (void)self;
  return (jlong)mobilenet_v2_output(0)->size;
}
