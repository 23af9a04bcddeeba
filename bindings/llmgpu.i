/* SPDX-License-Identifier: MIT
 *
 * SWIG: the public headers for Python and Go, function by function, without the prefix llmgpu_. Rules instead of cases:
 *
 *   T **out                           a result
 *   T *out, size_t size               a struct to be filled; the size is implied
 *   T *params, size_t size            the same, with defaults
 *   T *buffer, size_t capacity, *n    a result; room is made for it
 *   const char **text, size_t *len    a result
 *   char *error, size_t error_size    the sentence of the failure
 *   const T *items, size_t n          a list, a string or bytes
 *   const T *batch, size_t size       a struct
 *   a negative int                    a failure, with its code and the sentence of the first handle
 *
 * How the two languages take and give them is in python/typemaps.i and go/typemaps.i. Handles are freed by hand, and
 * functions take no callbacks: that is for layers above.
 */
%module(threads="1") llmgpu
#define LLMGPU_EXPERIMENTAL

%{
#define LLMGPU_EXPERIMENTAL
#include <stdlib.h>
#include <string.h>

#include <llmgpu/llmgpu.h>

/* What a call on this thread leaves behind. */
static _Thread_local struct {
    const void *handle;                  /* the first one it was given, whose sentence tells of its failure */
    const char *(*sentence)(const void *);
    char text[512];                      /* of functions that have no handle yet */
    void **room;                         /* the buffer it writes to */
    size_t *capacity, *n, item;
} call;

/* An argument has no handle before it. */
static void begin(void)
{
    call.handle = NULL;
    call.text[0] = '\0';
}

static void set_handle(int argument, const void *handle, const char *(*sentence)(const void *))
{
    if (argument == 1)
        begin();
    if (!call.handle) {
        call.handle = handle;
        call.sentence = sentence;
    }
}

static const char *get_sentence(int status)
{
    const char *text = call.text[0] || !call.handle ? call.text : call.sentence(call.handle);
    return text[0] ? text : llmgpu_status_name(status);
}

static void set_room(void **room, size_t *capacity, size_t *n, size_t item)
{
    call.room = room;
    call.capacity = capacity;
    call.n = n;
    call.item = item;
}

/* Whether a call must be made once more, with room for what it has to give. */
static int needs_room(void)
{
    void **room = call.room;
    call.room = NULL;
    if (!room || *call.n <= *call.capacity)
        return 0;
    *room = malloc(*call.n * call.item);
    *call.capacity = *room ? *call.n : 0;
    return *room != NULL;
}
%}

%include <stdint.i>
%include <carrays.i>

/* A string that is set in a struct of parameters is not freed. */
#pragma SWIG nowarn=451

%rename("%(regex:/^(?:llmgpu_|LLMGPU_)(.*)/\\1/)s") "";

/* The opaque types, with the function that tells their sentence. What a call only reads is left without one. */
%define HANDLE(NAME, SENTENCE)
%nodefaultctor llmgpu_##NAME;
%nodefaultdtor llmgpu_##NAME;
struct llmgpu_##NAME {};
%typemap(check) llmgpu_##NAME **out { begin(); }
%typemap(check) const llmgpu_##NAME * { set_handle($argnum, NULL, NULL); }
#if #SENTENCE != ""
%{
static const char *NAME##_sentence(const void *handle)
{
    return SENTENCE(handle);
}
%}
%typemap(check) llmgpu_##NAME * { set_handle($argnum, $1, NAME##_sentence); }
#endif
%enddef

HANDLE(context, llmgpu_context_error)
HANDLE(model, llmgpu_model_error)
HANDLE(session, llmgpu_session_error)
HANDLE(chat, llmgpu_chat_error)
HANDLE(decoder, )
HANDLE(lora, )
HANDLE(dataset, llmgpu_dataset_error)
HANDLE(trainer, llmgpu_trainer_error)
HANDLE(profile, )
HANDLE(file, )
HANDLE(device_list, )

/* Creating a context tells its sentence through the parameters. */
%typemap(check) const llmgpu_context_params *params (llmgpu_context_params told) {
    if ($1)
        told = *$1;
    else
        llmgpu_context_params_init(&told, sizeof told);
    told.error = call.text;
    told.error_size = sizeof call.text;
    $1 = &told;
}

/* So do quantising and merging, in the last of their arguments. */
%typemap(check) const llmgpu_quantize_params *params (llmgpu_quantize_params told) {
    begin();
    if ($1)
        told = *$1;
    else
        llmgpu_quantize_params_init(&told, sizeof told);
    told.error = call.text;
    told.error_size = sizeof call.text;
    $1 = &told;
}

/* What takes a function, and arrays of two kinds at once, is for C. */
%ignore llmgpu_trainer_set_reduce;
%ignore llmgpu_dataset_get_sample;
%ignore llmgpu_dataset_get_line;

%typemap(in, numinputs=0) (char *error, size_t error_size) {
    $1 = call.text;
    $2 = sizeof call.text;
}

/* Buffers of unknown size: asked without room first, then with what is needed. */
%define ROOM(ITEM, ARGUMENTS...)
%typemap(check) (ARGUMENTS) { set_room((void **)&$1, &$2, $3, sizeof(ITEM)); }
%typemap(freearg) (ARGUMENTS) { free($1); }
%enddef
ROOM(int32_t, int32_t *tokens, size_t capacity, size_t *n_tokens)
ROOM(char, char *text, size_t capacity, size_t *len)
ROOM(char, void *buffer, size_t capacity, size_t *size)
ROOM(char, void *data, size_t capacity, size_t *size)
ROOM(char, void *extra, size_t capacity, size_t *n_extra)
%exception {
    do {
        $action
    } while (needs_room());
}

/* Numbers that come in and go out by the array, as in C: floats, candidates. */
%array_functions(float, floats)
%array_functions(llmgpu_candidate, candidates)

#if defined(SWIGPYTHON)
%include "python/typemaps.i"
#elif defined(SWIGGO)
%include "go/typemaps.i"
#endif

%include "llmgpu/version.h"
%include "llmgpu/error.h"
%include "llmgpu/context.h"
%immutable;
%include "llmgpu/file.h"
%mutable;
%include "llmgpu/model.h"
%include "llmgpu/session.h"
%include "llmgpu/chat.h"
%include "llmgpu/lora.h"
%include "llmgpu/profile.h"
%include "llmgpu/dataset.h"
%include "llmgpu/train.h"
%include "llmgpu/quantize.h"
