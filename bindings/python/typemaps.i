/* SPDX-License-Identifier: MIT
 *
 * How Python takes and gives what ../llmgpu.i names. Results are returned, several as a list; a failure raises
 * llmgpu.Error, whose `code` is the status. Calls let other threads of Python run.
 */
%{
static PyObject *Error; /* the class */

static void raise_error(int status)
{
    PyObject *error = PyObject_CallFunction(Error, "s", get_sentence(status));
    PyObject *code = PyLong_FromLong(status);
    if (error && code && PyObject_SetAttrString(error, "code", code) == 0)
        PyErr_SetObject(Error, error);
    Py_XDECREF(code);
    Py_XDECREF(error);
}

static PyObject *from_text(const char *text, size_t len)
{
    return PyUnicode_DecodeUTF8(text ? text : "", text ? (Py_ssize_t)len : 0, "replace");
}

static PyObject *from_ids(const int32_t *ids, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);
    for (size_t i = 0; list && i < n; i++)
        PyList_SET_ITEM(list, (Py_ssize_t)i, PyLong_FromLong(ids[i]));
    return list;
}

/* A sequence of ints as an array that the caller frees; NULL with an exception set. */
static int32_t *to_ids(PyObject *object, size_t *n)
{
    PyObject *sequence = PySequence_Fast(object, "a sequence of token ids is needed");
    if (!sequence)
        return NULL;
    *n = (size_t)PySequence_Fast_GET_SIZE(sequence);
    int32_t *ids = malloc((*n + 1) * sizeof(*ids));
    for (size_t i = 0; ids && i < *n; i++) {
        long id = PyLong_AsLong(PySequence_Fast_GET_ITEM(sequence, (Py_ssize_t)i));
        if (id != (int32_t)id && !PyErr_Occurred())
            PyErr_SetString(PyExc_OverflowError, "a token id has 32 bits");
        if (PyErr_Occurred()) {
            free(ids);
            ids = NULL;
        } else
            ids[i] = (int32_t)id;
    }
    if (!ids && !PyErr_Occurred())
        PyErr_NoMemory();
    Py_DECREF(sequence);
    return ids;
}

/* A sequence of strings as an array that the caller frees, of texts that live as long as what is kept; NULL with an exception. */
static const char **to_names(PyObject *object, size_t *n, PyObject **kept)
{
    *kept = PySequence_Fast(object, "a sequence of file names is needed");
    if (!*kept)
        return NULL;
    *n = (size_t)PySequence_Fast_GET_SIZE(*kept);
    const char **names = malloc((*n + 1) * sizeof(*names));
    for (size_t i = 0; names && i < *n; i++) {
        names[i] = PyUnicode_AsUTF8(PySequence_Fast_GET_ITEM(*kept, (Py_ssize_t)i));
        if (!names[i]) {
            free(names);
            return NULL;
        }
    }
    if (!names)
        PyErr_NoMemory();
    return names;
}
%}

%init %{
    Error = PyErr_NewException("llmgpu.Error", NULL, NULL);
    if (!Error || PyModule_AddObjectRef(m, "Error", Error) < 0)
        return NULL;
%}
%pythoncode %{
Error = _llmgpu.Error
%}

/* Statuses: what is no failure is dropped, but for counts and answers. */
%typemap(out) int32_t { $result = PyLong_FromLong($1); }
%typemap(out) int {
    if ($1 < 0) {
        raise_error($1);
        SWIG_fail;
    }
    $result = SWIG_Py_Void();
}
%typemap(out) int llmgpu_context_step, int llmgpu_session_fd, int llmgpu_session_next, int llmgpu_session_next_text,
              int llmgpu_model_is_end, int llmgpu_dataset_next, int llmgpu_trainer_step_some, int llmgpu_trainer_poll {
    if ($1 < 0) {
        raise_error($1);
        SWIG_fail;
    }
    $result = PyLong_FromLong($1);
}

%define OUT_HANDLE(NAME)
%typemap(in, numinputs=0) llmgpu_##NAME **out (llmgpu_##NAME *made) { $1 = &made; }
%typemap(argout) llmgpu_##NAME **out {
    $result = SWIG_Python_AppendOutput($result, SWIG_NewPointerObj(*$1, $*1_descriptor, 0));
}
%enddef
OUT_HANDLE(context)
OUT_HANDLE(model)
OUT_HANDLE(session)
OUT_HANDLE(chat)
OUT_HANDLE(decoder)
OUT_HANDLE(lora)
OUT_HANDLE(dataset)
OUT_HANDLE(trainer)
OUT_HANDLE(profile)
OUT_HANDLE(file)
OUT_HANDLE(device_list)

%define OUT_STRUCT(NAME, ARGUMENT)
%typemap(in, numinputs=0) (llmgpu_##NAME *ARGUMENT, size_t size) {
    $1 = calloc(1, sizeof(*$1));
    $2 = sizeof(*$1);
}
%typemap(argout) (llmgpu_##NAME *ARGUMENT, size_t size) {
    $result = SWIG_Python_AppendOutput($result, SWIG_NewPointerObj($1, $1_descriptor, SWIG_POINTER_OWN));
    $1 = NULL;
}
%typemap(freearg) (llmgpu_##NAME *ARGUMENT, size_t size) { free($1); }
%enddef
OUT_STRUCT(context_params, params)
OUT_STRUCT(model_params, params)
OUT_STRUCT(session_params, params)
OUT_STRUCT(sampler_params, params)
OUT_STRUCT(device_info, out)
OUT_STRUCT(context_stats, out)
OUT_STRUCT(estimate, out)
OUT_STRUCT(model_info, out)
OUT_STRUCT(session_stats, out)
OUT_STRUCT(file_info, out)
OUT_STRUCT(file_metadata, out)
OUT_STRUCT(file_value, out)
OUT_STRUCT(file_tensor, out)
OUT_STRUCT(lora_info, out)
OUT_STRUCT(profile_info, out)
OUT_STRUCT(profile_row, out)
OUT_STRUCT(dataset_params, params)
OUT_STRUCT(dataset_stats, out)
OUT_STRUCT(batch, out)
OUT_STRUCT(trainer_params, params)
OUT_STRUCT(trainer_info, out)
OUT_STRUCT(train_result, out)
OUT_STRUCT(train_tensor, out)
OUT_STRUCT(quantize_params, params)

%typemap(in) (const llmgpu_batch *batch, size_t size) (void *given = NULL) {
    int res = SWIG_ConvertPtr($input, &given, $1_descriptor, 0);
    if (!SWIG_IsOK(res))
        SWIG_exception_fail(SWIG_ArgError(res), "a batch is needed");
    $1 = given;
    $2 = sizeof(*$1);
}

%typemap(in, numinputs=0) int32_t *token (int32_t token = -1) { $1 = &token; }
%typemap(argout) int32_t *token { $result = SWIG_Python_AppendOutput($result, PyLong_FromLong(*$1)); }
%typemap(in, numinputs=0) double *bytes_per_second (double number = 0), double *ns (double number = 0),
                          double *loss (double number = 0) { $1 = &number; }
%typemap(argout) double *bytes_per_second, double *ns, double *loss { $result = SWIG_Python_AppendOutput($result, PyFloat_FromDouble(*$1)); }

%typemap(in, numinputs=0) (const char **text, size_t *len) (const char *text = NULL, size_t len = 0) {
    $1 = ($1_ltype)&text;
    $2 = &len;
}
%typemap(argout) (const char **text, size_t *len) {
    $result = SWIG_Python_AppendOutput($result, from_text(*$1, *$2));
}

%typemap(in, numinputs=0) (int32_t *tokens, size_t capacity, size_t *n_tokens) (size_t n = 0) {
    $2 = 0;
    $3 = &n;
}
%typemap(argout) (int32_t *tokens, size_t capacity, size_t *n_tokens) {
    $result = SWIG_Python_AppendOutput($result, from_ids($1, *$3));
}
%typemap(in, numinputs=0) (char *text, size_t capacity, size_t *len) (size_t n = 0) {
    $2 = 0;
    $3 = &n;
}
%typemap(argout) (char *text, size_t capacity, size_t *len) {
    $result = SWIG_Python_AppendOutput($result, from_text($1, *$3));
}
%typemap(in, numinputs=0) (void *buffer, size_t capacity, size_t *size) (size_t n = 0) {
    $2 = 0;
    $3 = &n;
}
%typemap(argout) (void *buffer, size_t capacity, size_t *size) {
    $result = SWIG_Python_AppendOutput($result, PyBytes_FromStringAndSize($1, (Py_ssize_t)*$3));
}
%define OUT_BYTES(ARGUMENTS...)
%typemap(in, numinputs=0) (ARGUMENTS) = (void *buffer, size_t capacity, size_t *size);
%typemap(argout) (ARGUMENTS) = (void *buffer, size_t capacity, size_t *size);
%enddef
OUT_BYTES(void *data, size_t capacity, size_t *size)
OUT_BYTES(void *extra, size_t capacity, size_t *n_extra)

/* The token that was chosen, and a list of those that might have been. */
%typemap(in, numinputs=0) llmgpu_candidate *chosen { $1 = calloc(1, sizeof(*$1)); }
%typemap(argout) llmgpu_candidate *chosen {
    $result = SWIG_Python_AppendOutput($result, SWIG_NewPointerObj($1, $1_descriptor, SWIG_POINTER_OWN));
    $1 = NULL;
}
%typemap(freearg) llmgpu_candidate *chosen { free($1); }
%typemap(in, numinputs=0) (llmgpu_candidate *top, size_t capacity, size_t *n) (llmgpu_candidate top[32], size_t n = 0) {
    $1 = top;
    $2 = 32;
    $3 = &n;
}
%typemap(argout) (llmgpu_candidate *top, size_t capacity, size_t *n) {
    PyObject *list = PyList_New((Py_ssize_t)*$3);
    for (size_t i = 0; list && i < *$3; i++) {
        llmgpu_candidate *copy = malloc(sizeof(*copy));
        if (copy)
            *copy = $1[i];
        PyList_SET_ITEM(list, (Py_ssize_t)i, SWIG_NewPointerObj(copy, $1_descriptor, SWIG_POINTER_OWN));
    }
    $result = SWIG_Python_AppendOutput($result, list);
}

%define IN_IDS(ARGUMENTS...)
%typemap(in) (ARGUMENTS) {
    size_t n;
    $1 = to_ids($input, &n);
    $2 = n;
    if (!$1)
        SWIG_fail;
}
%typemap(freearg) (ARGUMENTS) { free((void *)$1); }
%enddef
IN_IDS(const int32_t *tokens, size_t n)
IN_IDS(const int32_t *tokens, size_t n_tokens)

/* Strings and bytes; None is NULL. */
%apply (char *STRING, size_t LENGTH) {
    (const char *text, size_t len),
    (const char *template_text, size_t template_len)
};

%define IN_BYTES(ARGUMENTS...)
%typemap(in) (ARGUMENTS) (Py_buffer view = {0}) {
    if (PyObject_GetBuffer($input, &view, PyBUF_SIMPLE) < 0)
        SWIG_fail;
    $1 = view.buf;
    $2 = (size_t)view.len;
}
%typemap(freearg) (ARGUMENTS) { PyBuffer_Release(&view$argnum); }
%enddef
IN_BYTES(const void *state, size_t size)
IN_BYTES(const void *data, size_t size)
IN_BYTES(const void *extra, size_t n_extra)

/* A sequence of file names. */
%typemap(in) (const char *const *paths, size_t n_paths) (PyObject *kept = NULL) {
    $1 = ($1_ltype)to_names($input, &$2, &kept);
    if (!$1)
        SWIG_fail;
}
%typemap(freearg) (const char *const *paths, size_t n_paths) {
    free((void *)$1);
    Py_XDECREF(kept$argnum);
}

/* What a file holds ends where it says, not at a NUL; values need not be UTF-8. */
%typemap(out) const char *key { $result = from_text($1, arg1->key_len); }
%typemap(out) const char *name { $result = from_text($1, arg1->name_len); }
%typemap(out) const char *string { $result = PyBytes_FromStringAndSize($1, $1 ? (Py_ssize_t)arg1->string_len : 0); }
