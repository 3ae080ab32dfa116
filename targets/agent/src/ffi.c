#include "ffi.h"

#include <stdio.h>
#include <string.h>

TVMFFIAny ffi_none(void) {
  TVMFFIAny any;
  memset(&any, 0, sizeof any);
  any.type_index = kTVMFFINone;
  return any;
}

TVMFFIAny ffi_int(int64_t value) {
  TVMFFIAny any = ffi_none();
  any.type_index = kTVMFFIInt;
  any.v_int64 = value;
  return any;
}

TVMFFIAny ffi_bool(int value) {
  TVMFFIAny any = ffi_int(value != 0);
  any.type_index = kTVMFFIBool;
  return any;
}

TVMFFIAny ffi_text(const char* text) {
  TVMFFIAny any = ffi_none();
  any.type_index = kTVMFFIRawStr;
  any.v_c_str = text;
  return any;
}

TVMFFIAny ffi_object(const TVMFFIAny* owned) { return *owned; }

static TVMFFIByteArray bytes_of(const char* text) {
  TVMFFIByteArray bytes = {text, strlen(text)};
  return bytes;
}

static void raise_error(const char* format, const char* name) {
  char message[256];
  snprintf(message, sizeof message, format, name);
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", message);
}

int ffi_call(const TVMFFIAny* function, TVMFFIAny* arguments, int count, TVMFFIAny* result) {
  *result = ffi_none();
  return TVMFFIFunctionCall(function->v_ptr, arguments, count, result);
}

int ffi_call_global(const char* name, TVMFFIAny* arguments, int count, TVMFFIAny* result) {
  *result = ffi_none();
  TVMFFIByteArray bytes = bytes_of(name);
  TVMFFIObjectHandle function = NULL;
  if (TVMFFIFunctionGetGlobal(&bytes, &function) != 0) return -1;
  if (function == NULL) {
    raise_error("this program lacks the function '%s'", name);
    return -1;
  }
  int status = TVMFFIFunctionCall(function, arguments, count, result);
  TVMFFIObjectDecRef(function);
  return status;
}

int ffi_module_function(const TVMFFIAny* module, const char* name, TVMFFIAny* result) {
  TVMFFIAny arguments[] = {ffi_object(module), ffi_text(name), ffi_bool(1)};
  if (ffi_call_global("ffi.ModuleGetFunction", arguments, 3, result) != 0) return -1;
  if (result->type_index == kTVMFFIFunction) return 0;
  raise_error("the library has no function '%s'", name);
  return -1;
}

int ffi_load_module(const char* path, TVMFFIAny* result) {
  TVMFFIAny argument = ffi_text(path);
  return ffi_call_global("ffi.ModuleLoadFromFile", &argument, 1, result);
}

int ffi_register(const char* name, TVMFFISafeCallType function, void* self) {
  TVMFFIByteArray bytes = bytes_of(name);
  TVMFFIObjectHandle handle = NULL;
  if (TVMFFIFunctionCreate(self, function, NULL, &handle) != 0) return -1;
  int status = TVMFFIFunctionSetGlobal(&bytes, handle, 1);
  TVMFFIObjectDecRef(handle);
  return status;
}

int ffi_get_text(const TVMFFIAny* value, char* text, size_t size) {
  TVMFFIByteArray bytes;
  if (value->type_index == kTVMFFIRawStr) {
    bytes = bytes_of(value->v_c_str);
  } else if (value->type_index == kTVMFFISmallStr) {
    bytes.data = value->v_bytes;
    bytes.size = value->small_str_len;
  } else if (value->type_index == kTVMFFIStr) {
    memcpy(&bytes, (const char*)value->v_obj + sizeof(TVMFFIObject), sizeof bytes);
  } else {
    return -1;
  }
  snprintf(text, size, "%.*s", (int)bytes.size, bytes.data);
  return 0;
}

void ffi_release(TVMFFIAny* value) {
  if (value->type_index >= kTVMFFIStaticObjectBegin) TVMFFIObjectDecRef(value->v_ptr);
  *value = ffi_none();
}

const char* ffi_error(void) {
  static char message[1024];
  TVMFFIObjectHandle error = NULL;
  TVMFFIErrorMoveFromRaised(&error);
  if (error == NULL) return "unknown error";
  TVMFFIErrorCell cell;
  memcpy(&cell, (const char*)error + sizeof(TVMFFIObject), sizeof cell);
  snprintf(message, sizeof message, "%.*s", (int)cell.message.size, cell.message.data);
  TVMFFIObjectDecRef(error);
  return message;
}
