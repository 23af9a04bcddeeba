/* SPDX-License-Identifier: MIT
 *
 * How Go takes and gives what ../llmgpu.i names. Results go where a pointer points to, as in C; a status comes back as an
 * error, the *Error of status.go. The few functions whose status is a count or an answer give it as an int: Failure()
 * makes an error of it.
 */

/* Members named `type` become Xtype. */
#pragma SWIG nowarn=314

%insert(cgo_comment_typedefs) %{
#cgo pkg-config: llmgpu
%}

%{
/* A copy for Go to take; NULL and empty when there is no memory. */
static void *copied(const void *from, size_t size)
{
    void *to = size ? malloc(size) : NULL;
    return to ? memcpy(to, from, size) : NULL;
}

static _gostring_ to_text(const char *text, size_t len)
{
    _gostring_ out = {copied(text, len), 0};
    out.n = out.p ? (intgo)len : 0;
    return out;
}

static _goslice_ to_slice(const void *items, size_t n, size_t size)
{
    _goslice_ out = {copied(items, n * size), 0, 0};
    out.len = out.cap = out.array ? (intgo)n : 0;
    return out;
}

static _gostring_ to_status(int status)
{
    char text[sizeof call.text + 16];
    if (status >= 0)
        return to_text("", 0);
    int n = snprintf(text, sizeof text, "%d %s", status, get_sentence(status));
    return to_text(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
}
%}

/* Enumerators are plain numbers, as in C. */
%typemap(gotype) enum SWIGTYPE "int"

/* Statuses. */
%typemap(gotype) int "error"
%typemap(imtype) int "string"
%typemap(out) int %{ $result = to_status($1); %}
%typemap(goout) int %{ $result = failed(taken($1)) %}

%define PLAIN(DECLARATION...)
%typemap(gotype) DECLARATION "int"
%typemap(imtype) DECLARATION "int"
%typemap(out) DECLARATION %{ $result = $1; %}
%typemap(goout) DECLARATION ""
%enddef
PLAIN(int llmgpu_context_step)
PLAIN(int llmgpu_session_fd)
PLAIN(int llmgpu_session_next)
PLAIN(int llmgpu_session_next_text)
PLAIN(int llmgpu_model_is_end)
PLAIN(int llmgpu_dataset_next)
PLAIN(int llmgpu_trainer_step_some)
PLAIN(int llmgpu_trainer_poll)
PLAIN(int status)
PLAIN(int kind)
PLAIN(int phase)
PLAIN(int pooling)
PLAIN(int normalize)
%typemap(gotype) int LLMGPU_VERSION_MAJOR, int LLMGPU_VERSION_MINOR, int LLMGPU_VERSION_PATCH, int LLMGPU_ABI_VERSION "int"
%typemap(gotype) int32_t "int32"
%typemap(imtype) int32_t "int32"
%typemap(out) int32_t %{ $result = $1; %}
%typemap(goout) int32_t ""

%define OUT_HANDLE(NAME, GO)
%typemap(gotype) llmgpu_##NAME **out "*" #GO
%typemap(imtype) llmgpu_##NAME **out "*uintptr"
%typemap(goin) llmgpu_##NAME **out %{ $result = new(uintptr) %}
%typemap(in) llmgpu_##NAME **out %{ $1 = ($1_ltype)$input; %}
%typemap(argout) llmgpu_##NAME **out ""
%typemap(goargout) llmgpu_##NAME **out %{
    *$1 = nil
    if *$input != 0 {
        *$1 = Swigcptr##GO(*$input)
    }
%}
%enddef
OUT_HANDLE(context, Context)
OUT_HANDLE(model, Model)
OUT_HANDLE(session, Session)
OUT_HANDLE(chat, Chat)
OUT_HANDLE(decoder, Decoder)
OUT_HANDLE(lora, Lora)
OUT_HANDLE(dataset, Dataset)
OUT_HANDLE(trainer, Trainer)
OUT_HANDLE(profile, Profile)
OUT_HANDLE(file, File)
OUT_HANDLE(device_list, Device_list)

%define OUT_STRUCT(NAME, GO, ARGUMENT)
%typemap(gotype) (llmgpu_##NAME *ARGUMENT, size_t size) #GO
%typemap(imtype) (llmgpu_##NAME *ARGUMENT, size_t size) "uintptr"
%typemap(goin) (llmgpu_##NAME *ARGUMENT, size_t size) %{ $result = getSwigcptr($input) %}
%typemap(in) (llmgpu_##NAME *ARGUMENT, size_t size) %{
    $1 = ($1_ltype)$input;
    $2 = sizeof(*$1);
%}
%enddef
OUT_STRUCT(context_params, Context_params, params)
OUT_STRUCT(model_params, Model_params, params)
OUT_STRUCT(session_params, Session_params, params)
OUT_STRUCT(sampler_params, Sampler_params, params)
OUT_STRUCT(device_info, Device_info, out)
OUT_STRUCT(context_stats, Context_stats, out)
OUT_STRUCT(estimate, Estimate, out)
OUT_STRUCT(model_info, Model_info, out)
OUT_STRUCT(session_stats, Session_stats, out)
OUT_STRUCT(file_info, File_info, out)
OUT_STRUCT(file_metadata, File_metadata, out)
OUT_STRUCT(file_value, File_value, out)
OUT_STRUCT(file_tensor, File_tensor, out)
OUT_STRUCT(lora_info, Lora_info, out)
OUT_STRUCT(profile_info, Profile_info, out)
OUT_STRUCT(profile_row, Profile_row, out)
OUT_STRUCT(dataset_params, Dataset_params, params)
OUT_STRUCT(dataset_stats, Dataset_stats, out)
OUT_STRUCT(batch, Batch, out)
OUT_STRUCT(trainer_params, Trainer_params, params)
OUT_STRUCT(trainer_info, Trainer_info, out)
OUT_STRUCT(train_result, Train_result, out)
OUT_STRUCT(train_tensor, Train_tensor, out)
OUT_STRUCT(quantize_params, Quantize_params, params)
OUT_STRUCT(batch, Batch, batch)
%apply (llmgpu_batch *batch, size_t size) { (const llmgpu_batch *batch, size_t size) };

%define OUT_NUMBER(GO, ARGUMENT...)
%typemap(gotype) ARGUMENT "*" #GO
%typemap(imtype) ARGUMENT "*" #GO
%typemap(in) ARGUMENT %{ $1 = ($1_ltype)$input; %}
%enddef
OUT_NUMBER(int32, int32_t *token)
OUT_NUMBER(float64, double *bytes_per_second)
OUT_NUMBER(float64, double *ns)
OUT_NUMBER(float64, double *loss)

/* What C gives is copied, for Go's side to take. */
%define OUT_TEXT(ARGUMENTS...)
%typemap(gotype) (ARGUMENTS) "*string"
%typemap(imtype) (ARGUMENTS) "*string"
%typemap(goin) (ARGUMENTS) %{ $result = new(string) %}
%typemap(goargout) (ARGUMENTS) %{
    *$1 = taken(*$input)
%}
%enddef
OUT_TEXT(const char **text, size_t *len)
%typemap(in) (const char **text, size_t *len) (const char *text = NULL, size_t len = 0) %{
    $1 = ($1_ltype)&text;
    $2 = &len;
%}
%typemap(argout) (const char **text, size_t *len) %{ *(_gostring_ *)$input = to_text(*$1, *$2); %}

%define IN_ROOM(ARGUMENTS...)
%typemap(in) (ARGUMENTS) (size_t n = 0) %{
    $1 = NULL;
    $2 = 0;
    $3 = &n;
%}
%enddef
OUT_TEXT(char *text, size_t capacity, size_t *len)
IN_ROOM(char *text, size_t capacity, size_t *len)
%typemap(argout) (char *text, size_t capacity, size_t *len) %{
    *(_gostring_ *)$input = to_text($1, $1 ? *$3 : 0);
%}

%define OUT_SLICE(GO, TAKEN, ARGUMENTS...)
IN_ROOM(ARGUMENTS)
%typemap(gotype) (ARGUMENTS) "*[]" #GO
%typemap(imtype) (ARGUMENTS) "*[]" #GO
%typemap(goin) (ARGUMENTS) %{ $result = new([]GO) %}
%typemap(argout) (ARGUMENTS) %{ *(_goslice_ *)$input = to_slice($1, $1 ? *$3 : 0, sizeof(*$1)); %}
%typemap(goargout) (ARGUMENTS) %{
    *$1 = TAKEN(*$input)
%}
%enddef
OUT_SLICE(int32, takenIds, int32_t *tokens, size_t capacity, size_t *n_tokens)
OUT_SLICE(byte, takenBytes, void *buffer, size_t capacity, size_t *size)
OUT_SLICE(byte, takenBytes, void *data, size_t capacity, size_t *size)
OUT_SLICE(byte, takenBytes, void *extra, size_t capacity, size_t *n_extra)

%define IN_SLICE(GO, ARGUMENTS...)
%typemap(gotype) (ARGUMENTS) "[]" #GO
%typemap(in) (ARGUMENTS) %{
    $1 = ($1_ltype)$input.array;
    $2 = (size_t)$input.len;
%}
%enddef
IN_SLICE(int32, const int32_t *tokens, size_t n)
IN_SLICE(int32, const int32_t *tokens, size_t n_tokens)
IN_SLICE(byte, const void *state, size_t size)
IN_SLICE(byte, const void *extra, size_t n_extra)

/* File names: C may not look into a slice of strings, so they cross as one text, each with a NUL behind it. */
%typemap(gotype) (const char *const *paths, size_t n_paths) "[]string"
%typemap(imtype) (const char *const *paths, size_t n_paths) "string"
%typemap(goin) (const char *const *paths, size_t n_paths) %{ $result = joined($input) %}
%typemap(in) (const char *const *paths, size_t n_paths) (const char **names = NULL) %{
    $2 = 0;
    for (intgo i = 0; i < $input.n; i++)
        $2 += $input.p[i] == '\0';
    names = malloc(($2 + 1) * sizeof(*names));
    const char *name = $input.p;
    for (size_t i = 0; names && i < $2; i++, name += strlen(name) + 1)
        names[i] = name;
    $1 = ($1_ltype)names;
%}
%typemap(freearg) (const char *const *paths, size_t n_paths) %{ free(names$argnum); %}

/* "" is NULL where a text may be absent. */
%apply (char *STRING, size_t LENGTH) { (const char *text, size_t len) };
%typemap(gotype) (const char *template_text, size_t template_len) "string"
%typemap(in) (const char *template_text, size_t template_len) %{
    $1 = $input.n ? $input.p : NULL;
    $2 = (size_t)$input.n;
%}

/* What a file holds ends where it says, not at a NUL. */
%define OUT_MEMBER(LENGTH, MEMBER)
%typemap(out) const char *MEMBER %{ $result = to_text($1, arg1->LENGTH); %}
%typemap(goout) const char *MEMBER %{ $result = taken($1) %}
%enddef
OUT_MEMBER(key_len, key)
OUT_MEMBER(name_len, name)
OUT_MEMBER(string_len, string)
