/* TVM's C ABI (tvm/ffi/c_api.h) with less ceremony. Every function that returns int gives 0 when done;
 * otherwise ffi_error() has the message. */
#ifndef ARMATURE_FFI_H_
#define ARMATURE_FFI_H_

#include <stddef.h>
#include <tvm/ffi/c_api.h>

/* Arguments for a call: views, they keep nothing alive. */
TVMFFIAny ffi_none(void);
TVMFFIAny ffi_int(int64_t value);
TVMFFIAny ffi_bool(int value);
TVMFFIAny ffi_text(const char* text);
TVMFFIAny ffi_object(const TVMFFIAny* owned);

/* Calls a function object, or a global function by name; `result` is the caller's to release. */
int ffi_call(const TVMFFIAny* function, TVMFFIAny* arguments, int count, TVMFFIAny* result);
int ffi_call_global(const char* name, TVMFFIAny* arguments, int count, TVMFFIAny* result);

/* The function `name` of a module. */
int ffi_module_function(const TVMFFIAny* module, const char* name, TVMFFIAny* result);

/* Loads a shared library as a module. */
int ffi_load_module(const char* path, TVMFFIAny* result);

/* Makes a C function callable from everywhere under a global name. */
int ffi_register(const char* name, TVMFFISafeCallType function, void* self);

/* The text of a string argument (copied, cut to fit); -1 when it is not a string. */
int ffi_get_text(const TVMFFIAny* value, char* text, size_t size);

void ffi_release(TVMFFIAny* value);

/* Takes the pending error off TVM and returns its message; valid until the next call. */
const char* ffi_error(void);

#endif
